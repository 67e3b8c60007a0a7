"""What the sandbox keeps in its state folder, and how it comes back after a restart.

uploads.jsonl            one record for each upload and each change of its state; the last one counts
incoming/                bodies that are being received or processed
users.json, users/       the current user set and the one before it
transactions/            one Parquet file for each accepted file; they accumulate
batch.json, batches/     the published batch and the one before it
catalogue.parquet        titles and categories of products
"""

import fcntl
import json
import threading
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO, TypedDict

from include.errors import ConfigError
from include.sandbox.catalogue import Catalogue
from include.sandbox.database import Database, literal
from include.sandbox.lines import Format, Kind
from include.staging import atomic_write, read_json, write_json

KEPT_USER_SETS = 5  # the current, the previous, and some that a batch may still be made from


class Upload(TypedDict):
    """One upload. ``state``: ``processing``, then ``accepted`` or ``cancelled`` (with a reason)."""

    id: str
    kind: Kind
    format: Format
    state: str
    bytes: int
    sha256: str | None
    rows: int | None
    received_at: str
    line: int | None
    reason: str | None


class Store:
    """The state folder. Safe to use from several threads; one sandbox at a time has it.

    Raises:
        ConfigError: another sandbox has it.
    """

    def __init__(self, root: Path, memory_limit: str) -> None:
        self.root = root
        for folder in ("incoming", "users", "transactions", "batches", "spill"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self._in_use = _claim(root)
        self.database = Database(root / "spill", memory_limit)
        self.catalogue = Catalogue(root / "catalogue.parquet", self.database)
        self._lock = threading.Lock()
        self._uploads = _read_uploads(root / "uploads.jsonl")
        _write_uploads(root / "uploads.jsonl", self._uploads)
        self._last_id = max((int(number) for number in self._uploads), default=0)
        self._counts: tuple[tuple[str, ...], dict[str, int]] | None = None
        self._remove_leftovers()

    def close(self) -> None:
        """Let another sandbox use the folder."""
        self._in_use.close()

    def next_id(self) -> str:
        """A new upload's number."""
        with self._lock:
            self._last_id += 1
            return f"{self._last_id:06d}"

    def body(self, number: str) -> Path:
        """Where the received file of an upload lies until it is processed."""
        return self.root / "incoming" / number

    def note(self, upload: Upload) -> None:
        """Keep a record of an upload, or its new state."""
        with self._lock, (self.root / "uploads.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(upload) + "\n")
            self._uploads[upload["id"]] = upload

    def uploads(self) -> list[Upload]:
        """All uploads, oldest first."""
        with self._lock:
            return [self._uploads[number] for number in sorted(self._uploads)]

    def users_target(self, number: str) -> Path:
        """Where the user set of an upload is written before it replaces the current one."""
        return self.root / "users" / f"{number}.parquet"

    def transactions_target(self, number: str) -> Path:
        """Where the transactions of an upload are kept."""
        return self.root / "transactions" / f"{number}.parquet"

    def replace_users(self, number: str, rows: int, received_at: datetime) -> None:
        """Make an upload the current user set, and the current one the previous; older ones are removed."""
        current = {"upload": number, "rows": rows, "received_at": received_at.isoformat()}
        write_json(self.root / "users.json", {"current": current, "previous": self.users()})
        for path in sorted((self.root / "users").glob("*.parquet"))[:-KEPT_USER_SETS]:
            path.unlink()

    def users(self, which: str = "current") -> dict[str, Any] | None:
        """The record of the current (or ``previous``) user set."""
        path = self.root / "users.json"
        found: dict[str, Any] | None = read_json(path)[which] if path.exists() else None
        return found

    def transactions(self) -> list[Path]:
        """The files of all accepted transactions, oldest first."""
        accepted = [each for each in self.uploads() if each["kind"] == "transactions" and each["state"] == "accepted"]
        return [self.transactions_target(each["id"]) for each in accepted]

    def counts(self) -> dict[str, int]:
        """Users, transactions, sessions, and the sessions that straddle two files (which they never should)."""
        users = self.users()
        files = tuple(str(path) for path in self.transactions())
        key = (*files, str(users and users["upload"]))
        if self._counts is None or self._counts[0] != key:
            self._counts = (key, self._count(files, users))
        return self._counts[1]

    def _count(self, files: tuple[str, ...], users: dict[str, Any] | None) -> dict[str, int]:
        counts = {"users": 0, "transactions": 0, "sessions": 0, "straddling_sessions": 0}
        with self.database.connect() as connection:
            if users is not None:
                source = literal(self.users_target(users["upload"]))
                counted = connection.execute(f"SELECT count(DISTINCT auth_user_id) FROM read_parquet({source})")
                counts["users"] = (counted.fetchone() or (0,))[0]
            if files:
                counted = connection.execute(_COUNT_SESSIONS, {"files": list(files)})
                rows = counted.fetchone() or (0, 0, 0)
                counts |= {"transactions": int(rows[0]), "sessions": rows[1], "straddling_sessions": rows[2]}
        return counts

    def _remove_leftovers(self) -> None:
        waiting = {number for number, upload in self._uploads.items() if upload["state"] == "processing"}
        for path in (self.root / "incoming").iterdir():
            if path.name not in waiting:
                path.unlink()


def _claim(root: Path) -> TextIO:
    handle = (root / "in_use").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise ConfigError(f"state: another sandbox uses {root}; stop it, or choose another folder") from None
    return handle


_COUNT_SESSIONS = """
    SELECT coalesce(sum(rows), 0), count(*), count(*) FILTER (files > 1) FROM (
        SELECT session_id, sum(rows) AS rows, count(*) AS files FROM (
            SELECT session_id, filename, count(*) AS rows FROM read_parquet($files, filename = true) GROUP BY ALL)
        GROUP BY session_id)"""


def _read_uploads(path: Path) -> dict[str, Upload]:
    uploads: dict[str, Upload] = {}
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            try:
                upload: Upload = json.loads(line)
                uploads[upload["id"]] = upload
            except (ValueError, KeyError, TypeError):
                continue  # a line that was being written when the sandbox was killed
    return uploads


def _write_uploads(path: Path, uploads: dict[str, Upload]) -> None:
    """One line an upload again, and no half line at the end."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        handle.writelines(json.dumps(upload) + "\n" for upload in uploads.values())
