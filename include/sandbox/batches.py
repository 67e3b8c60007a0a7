"""Publishing: the batch as XML and JSON files in the documented shapes, put in place at once.

A batch is a folder; ``batch.json`` names the one that the link serves. Whoever is reading the old one reads it to its
end.
"""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from include.sandbox.clock import Clock
from include.sandbox.faults import Faults
from include.sandbox.recommend import recommend
from include.sandbox.settings import RecommendationType, Settings
from include.sandbox.store import Store
from include.staging import read_json, write_json

_NOT_IN_XML = r"[^\x09\x0A\x0D\x20-\x{D7FF}\x{E000}-\x{FFFD}\x{10000}-\x{10FFFF}]"
_MACROS = rf"""
    CREATE MACRO xml(text) AS replace(replace(replace(replace(regexp_replace(text, '{_NOT_IN_XML}', '', 'g'),
        '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;')"""
_PRODUCTS = """
    products AS (
        SELECT no, user_id, type, name, rank, identity AS id, coalesce(title, 'Product ' || identity) AS title,
            concat($base, '/products/', url_encode(identity), '?recommendation_id=',
                left(md5(concat_ws('|', $updated_at, user_id, name)), 20),
                '&utm_source=newsletter&utm_medium=email&utm_campaign=', url_encode(name)) AS url,
            concat($base, '/products/', url_encode(identity), '.svg') AS image_link
        FROM (FROM everybody WHERE no BETWEEN $first AND $last) AS users JOIN lists USING (no) JOIN types USING (type)
            LEFT JOIN catalogue ON catalogue.id = identity)"""
_XML_LINES = f"""
    WITH {_PRODUCTS},
    blocks AS (
        SELECT no, type, concat('<recommendation><recommendation_type>', xml(any_value(name)),
            '</recommendation_type><results>', string_agg(concat('<result><id>', xml(id), '</id><url>', xml(url),
            '</url><title>', xml(title), '</title><image_link>', xml(image_link), '</image_link></result>'), ''
            ORDER BY rank), '</results></recommendation>') AS block
        FROM products GROUP BY no, type),
    data AS (SELECT no, string_agg(block, '' ORDER BY type) AS data FROM blocks GROUP BY no)
    SELECT concat('<user><auth_user_id>', xml(user_id), '</auth_user_id><data><_metadata><updated_at>', $updated_at,
        '</updated_at></_metadata><recommendations>', data, '</recommendations></data></user>', chr(10)) AS line
    FROM everybody LEFT JOIN data USING (no) WHERE no BETWEEN $first AND $last ORDER BY no"""
_JSON_LINES = f"""
    WITH {_PRODUCTS},
    blocks AS (
        SELECT no, type, concat(to_json(any_value(name)), ': [', string_agg(concat('{{"id": ', to_json(id),
            ', "url": ', to_json(url), ', "title": ', to_json(title), ', "image_link": ', to_json(image_link), '}}'),
            ', ' ORDER BY rank), ']') AS block
        FROM products GROUP BY no, type),
    data AS (SELECT no, string_agg(block, ', ' ORDER BY type) AS data FROM blocks GROUP BY no)
    SELECT concat('{{"id": ', to_json(user_id), ', "data": {{', data, '}}}}', chr(10)) AS line
    FROM everybody LEFT JOIN data USING (no) WHERE no BETWEEN $first AND $last ORDER BY no"""
USERS_AT_A_TIME = 5_000


class Publisher:
    """Computes batches and puts them in place; one at a time."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, faults: Faults) -> None:
        self.store, self.settings, self.clock, self.faults = store, settings, clock, faults
        self.base_url = settings.public_url or ""
        self._frozen: dict[str, Any] | None = None

    def publish(self, types: Sequence[RecommendationType] | None = None, today: date | None = None) -> dict[str, Any]:
        """Compute a batch from what is stored, write it, serve it from now on. Runs in a thread; gives its record.

        The fault ``previous_list_batch`` makes it from the user set before the current one.
        """
        which = "previous" if self.faults.take("previous_list_batch") else "current"
        users = self.store.users(which)
        types = types or self.settings.recommendation_types
        now = self.clock.now()
        record: dict[str, Any] = {
            "published_at": now.isoformat(),
            "today": (today or self.settings.today or now.date()).isoformat(),
            "types": {each.name: each.slots for each in types},
            "users_upload": users and users["upload"],
            "made_from": which,
        }
        folder = self._next_folder()
        with self.store.database.connect(threads=2) as connection:
            users_file = self.store.users_target(users["upload"]) if users else None
            today = date.fromisoformat(record["today"])
            recommend(connection, users_file, self.store.transactions(), types, today)
            record |= self._write(connection, folder, types, now)
        record["folder"] = folder.name
        write_json(self.store.root / "batch.json", record)
        self._remove_old(folder.name)
        return record

    def current(self) -> dict[str, Any] | None:
        """The record of the batch that is published; None before the first one."""
        path = self.store.root / "batch.json"
        return read_json(path) if path.exists() else None

    def freeze(self) -> None:
        """Remember what is published now, for the fault ``frozen_batch``."""
        self._frozen = self.served()

    def served(self) -> dict[str, Any] | None:
        """The record of the batch that the link serves: the published one, or the frozen one."""
        return self._frozen if self.faults.find("frozen_batch") else self.current()

    def file(self, record: dict[str, Any], form: str) -> Path:
        """A published file of a batch; ``form`` is ``xml`` or ``json``."""
        return self.store.root / "batches" / str(record["folder"]) / f"batch.{form}"

    def _next_folder(self) -> Path:
        parent = self.store.root / "batches"
        last = max((int(each.name) for each in parent.iterdir()), default=0)
        folder = parent / f"{last + 1:06d}"
        folder.mkdir()
        return folder

    def _write(
        self, connection: duckdb.DuckDBPyConnection, folder: Path, types: Sequence[RecommendationType], now: datetime
    ) -> dict[str, Any]:
        connection.execute(_MACROS)
        connection.execute("CREATE TABLE types (type INTEGER, name VARCHAR)")
        connection.executemany("INSERT INTO types VALUES (?, ?)", [(no, each.name) for no, each in enumerate(types)])
        connection.execute(f"CREATE VIEW catalogue AS {self.store.catalogue.sql()}")
        values = {"base": self.base_url, "updated_at": now.strftime("%Y-%m-%dT%H:%M:%S")}
        header, footer = b'<?xml version="1.0" encoding="UTF-8"?>\n<users>\n', b"</users>\n"
        xml = _write_file(folder / "batch.xml", _around(header, _lines(connection, _XML_LINES, values), footer))
        json = _write_file(folder / "batch.json", _lines(connection, _JSON_LINES, values))
        return {"personalised": _count(connection, "active"), "files": {"xml": xml, "json": json}}

    def _remove_old(self, current: str) -> None:
        folders = sorted((self.store.root / "batches").iterdir())
        kept = {current, self._frozen and self._frozen["folder"], *(each.name for each in folders[-2:])}
        for folder in folders:
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)


def _lines(connection: duckdb.DuckDBPyConnection, query: str, values: dict[str, Any]) -> Iterator[bytes]:
    for first in range(1, _count(connection, "everybody") + 1, USERS_AT_A_TIME):
        some = {**values, "first": first, "last": first + USERS_AT_A_TIME - 1}
        yield "".join(row[0] for row in connection.execute(query, some).fetchall()).encode()


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    counted = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return counted[0] if counted else 0


def _around(header: bytes, lines: Iterator[bytes], footer: bytes) -> Iterator[bytes]:
    yield header
    yield from lines
    yield footer


def _write_file(path: Path, pieces: Iterator[bytes]) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as handle:
        for piece in pieces:
            handle.write(piece)
            digest.update(piece)
            size += len(piece)
    return {"bytes": size, "sha256": digest.hexdigest()}
