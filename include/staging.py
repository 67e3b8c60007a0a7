"""Where things lie in the staging store, how they are written, and what a manifest is.

Every file is written under a temporary name and renamed; a manifest is written after the files it lists, so
a manifest that exists is a promise that its files are whole. Paths are built here and nowhere else.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import unquote, urlsplit

from include.errors import BadInput, ConfigError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
MANIFEST = "manifest.json"
FILE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"


class Ref(TypedDict):
    """What tasks hand to each other instead of data."""

    uri: str
    rows: int
    bytes: int
    sha256: str


def staging_root() -> Path:
    """The staging store: ``STAGING_URI``; in a checkout, by default, its folder ``staging``.

    It holds more than scratch: the ledger of what was sent and the accepted lists.

    Raises:
        ConfigError: the URI is not one this version can use.
    """
    uri = os.environ.get("STAGING_URI")
    if not uri and not (PROJECT_ROOT / "pyproject.toml").exists():
        raise ConfigError("STAGING_URI is not set: say where staged data, the ledger and the accepted lists lie")
    return to_path(uri or (PROJECT_ROOT / "staging").as_uri())


def to_path(uri: str) -> Path:
    """The path behind a ``file://`` URI, or behind a plain absolute path."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if not parts.scheme and uri.startswith("/"):
        return Path(uri)
    raise ConfigError(f"staging: cannot use {uri!r}; allowed are file:///absolute/folder and /absolute/folder")


def slug(text: str) -> str:
    """A run id or a time as a file name, such as ``scheduled__2026-03-01T12-00-00-00-00``.

    A text that is a file name stays as it is, and one that is so but for a time in UTC, as Airflow writes run ids,
    gets ``-`` for its colons and plus sign. Any other gets a piece of its hash, so that two runs never share a folder.
    """
    if re.fullmatch(FILE_NAME, text) and not re.search(r"T\d\d-\d\d-\d\d(\.\d+)?-00-00", text):
        return text
    usual = re.sub(r"(T\d\d):(\d\d):(\d\d(?:\.\d+)?)\+00:00", r"\1-\2-\3-00-00", text, count=1)
    if usual != text and re.fullmatch(FILE_NAME, usual):
        return usual
    readable = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:150]
    return f"{readable}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}".lstrip("-")


def run_folder(root: Path, publisher: str, room: str, run: str) -> Path:
    """``{publisher}/{room}/{run}``; room is ``audience``, ``transactions`` or ``batches``."""
    return root / publisher / room / slug(run)


def utc_text(moment: datetime) -> str:
    """A moment as records and manifests spell it: ISO-8601, UTC, always with microseconds.

    Raises:
        BadInput: it carries no zone, so nobody knows which moment it is.
    """
    if moment.tzinfo is None:
        raise BadInput(f"{moment.isoformat()} carries no time zone; give one, such as +00:00")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it is flushed to disk and renamed, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON atomically, the same bytes for the same content."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a manifest or record.

    Raises:
        BadInput: it is missing (what should have written it did not finish) or unreadable.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: not there; the step that writes it did not finish. Clear that step.") from None
    except ValueError as error:
        raise BadInput(
            f"{path}: not readable as JSON ({error}). Remove it and clear the step that wrote it."
        ) from error
    return content


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def ref(path: Path, rows: int) -> Ref:
    """A reference to a file that is whole."""
    return {"uri": path.as_uri(), "rows": rows, "bytes": path.stat().st_size, "sha256": sha256_file(path)}
