"""Where things lie in the staging store, how they are written, and what a manifest is.

Every file is written all or nothing: on a disk under a temporary name and renamed, in an object store as one upload. A
manifest is written after the files it lists, so a manifest that exists is a promise that its files are whole. Paths are
built here and nowhere else. ``Path`` stands for both kinds of place, see ``include.objects``; what a disk alone can do
(spill, rename, lock) is asked of this module.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, TypedDict, cast
from urllib.parse import unquote, urlsplit

from include.errors import BadInput, ConfigError
from include.object_files import BLOCK_BYTES
from include.objects import ObjectPath, plugged

PROJECT_ROOT = Path(__file__).resolve().parent.parent
MANIFEST = "manifest.json"
FILE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
LEDGER_CONNECTION = "LEDGER_CONNECTION"
"""The variable of the environment that names the Airflow connection of the ledger, where that is in Postgres."""


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
    """The path behind a ``file://`` URI, behind a plain absolute path, or in an object store.

    Raises:
        ConfigError: it is none of them.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if not parts.scheme and uri.startswith("/"):
        return Path(uri)
    if parts.scheme not in ("", "file", "http", "https"):
        return cast("Path", ObjectPath.from_uri(uri))  # it has the manners of a path, as far as they are needed
    raise ConfigError(
        f"staging: cannot use {uri!r}; allowed are file:///absolute/folder, /absolute/folder, and object stores such "
        "as s3://connection@bucket/prefix"
    )


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
    """Give a temporary local path; on success the file gets its name, whole and durable, else it is removed."""
    with TemporaryDirectory() if isinstance(path, ObjectPath) else _beside(path) as folder:
        temporary = Path(folder) / f".{path.name}.{secrets.token_hex(6)}.tmp"
        try:
            yield temporary
            if isinstance(path, ObjectPath):
                with temporary.open("rb") as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target, BLOCK_BYTES)
                return
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def open_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that is written as one stream, straight into a store; visible when the block ends, whole, or never."""
    if isinstance(path, ObjectPath):
        with path.open("wb") as handle:
            yield handle
        return
    with atomic_write(path) as temporary, temporary.open("wb", buffering=1 << 22) as handle:
        yield handle


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    yield path.parent


@contextmanager
def scratch(near: Path) -> Iterator[Path]:
    """An empty folder on a local disk, gone afterwards: in the folder ``near``, or, if that is in a store, in TMPDIR.

    The folder in ``near`` is called ``.work-…``.
    """
    local = None if isinstance(near, ObjectPath) else near
    if local:
        local.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".work-", dir=local, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """The file itself if it is local, else a copy of it in TMPDIR, gone afterwards: for who must jump about in it."""
    if not isinstance(path, ObjectPath):
        yield path
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with path.open("rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, BLOCK_BYTES)
        yield copy


def copy_file(source: Path, target: Path) -> None:
    """Copy a file to a name in the same store, all or nothing."""
    if isinstance(source, ObjectPath):
        source.copy_to(cast("ObjectPath", target))
        return
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)


def move_file(source: Path, target: Path) -> Path:
    """Give a finished local file its name, renamed on its disk or put into a store; returns where it is local now."""
    if isinstance(target, ObjectPath):
        with source.open("rb") as data, target.open("wb") as handle:
            shutil.copyfileobj(data, handle, BLOCK_BYTES)
        return source
    target.parent.mkdir(parents=True, exist_ok=True)
    return source.replace(target)


def remove_folder(folder: Path) -> None:
    """Remove a folder with everything in it; nothing happens if it is not there."""
    if not isinstance(folder, ObjectPath):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        folder.remove_tree()


def to_disk(folder: Path) -> None:
    """Force the names in a folder to disk, as their contents are already; an object is durable when it is there."""
    if isinstance(folder, ObjectPath):
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """One process at a time: of this machine for a local folder, of all workers for one in a store.

    Raises:
        ConfigError: the folder is in a store, and no database is set in which workers can take turns.
    """
    if isinstance(folder, ObjectPath):
        with plugged("turn")(f"{folder}/{name}"):
            yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON atomically, the same bytes for the same content."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if isinstance(path, ObjectPath):
        path.write_text(text)
        return
    with atomic_write(path) as temporary:
        temporary.write_text(text, "utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a manifest or record.

    Raises:
        BadInput: it is missing (what should have written it did not finish) or unreadable.
    """
    content = find_json(path)
    if content is None:
        raise BadInput(f"{path}: not there; the step that writes it did not finish. Clear that step.")
    return content


def find_json(path: Path) -> dict[str, Any] | None:
    """Read a manifest or record; None if there is none.

    Raises:
        BadInput: it is unreadable.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BadInput(
            f"{path}: not readable as JSON ({error}). Remove it and clear the step that wrote it."
        ) from error
    return content


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
