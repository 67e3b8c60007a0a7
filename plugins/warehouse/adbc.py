"""Reading a query of PostgreSQL as Arrow columns, by its ADBC driver: no Python object for each value.

It gives what the plain cursor would give: every column comes as PostgreSQL's own text. Text, whole numbers, UUIDs and
booleans are then spelled as ``include.spelling`` spells them, times differ in little, and the other types of ``_KNOWN``
go through psycopg's own loader, once for each different value of a batch. A query with a column of any other type is
not read this way.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from queue import Full, Queue
from typing import TYPE_CHECKING, Any

from warehouse.copy import copies

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

log = logging.getLogger(__name__)

_AS_IT_IS = {"text", "varchar", "name", "int2", "int4", "int8", "oid", "uuid", "bool"}
_MOMENTS = {"timestamp", "timestamptz"}
_KNOWN = _AS_IT_IS | _MOMENTS | {"numeric", "float4", "float8", "date", "time", "timetz"}
_AFTER_SECONDS = re.compile(r"(?:\.(\d{1,6}))?([+-]\d\d)?((?::\d\d){0,2})")
_Load = Callable[[bytes], Any]


def can_read(connection: psycopg.Connection[Any], names: Sequence[str], types: Sequence[int]) -> bool:
    """Whether a result with these columns can be read this way through connections like this one.

    Args:
        connection: an open connection.
        names: of the columns.
        types: their types (OIDs).
    """
    info = connection.info
    odd = [name for name, oid in zip(names, types, strict=True) if _type(connection, oid) not in _KNOWN]
    if odd:
        log.info("read row by row, because of the type of %s; cast to text is faster", ", ".join(odd))
    return (
        bool(names)
        and not odd
        and copies(connection)
        and info.parameter_status("server_encoding") != "SQL_ASCII"
        and (info.parameter_status("DateStyle") or "").startswith("ISO")
        and importlib.util.find_spec("adbc_driver_postgresql") is not None
    )


@contextmanager
def columns_of(
    connection: psycopg.Connection[Any], sql: str, types: Sequence[int], rows: int
) -> Iterator[Iterator[Columns] | None]:
    """Run a query; its result can be read while the block lasts, at most ``rows`` rows at a time.

    It runs in a connection of its own, which is made like the given one. None: the server gives no second connection,
    or does not take the query within a query, such as one with a remark behind its semicolon; then nothing was run.

    Args:
        connection: an open connection.
        sql: the query, without parameters.
        types: the types (OIDs) of its columns.
        rows: of a batch.
    """
    from psycopg.adapt import Transformer
    from psycopg.pq import Format

    info = connection.info
    transformer = Transformer(connection)
    same_zone = str(info.timezone) == info.parameter_status("TimeZone")  # else psycopg gives times in UTC
    spellers = [
        _speller(_type(connection, oid), transformer.get_loader(oid, Format.TEXT).load, same_zone) for oid in types
    ]
    names = [f'"{place}"' for place in range(len(types))]
    texts = ", ".join(f"{name}::text" for name in names)
    query = f"SELECT {texts} FROM (\n{sql}\n) rows_of_query ({', '.join(names)})"
    with ExitStack() as opened:
        cursor = _prepared(info, query, opened)
        batches = opened.enter_context(_ahead(cursor, query)) if cursor else None
        yield batches and (
            Columns(batch.slice(first, rows), spellers) for batch in batches for first in range(0, batch.num_rows, rows)
        )


def _prepared(info: psycopg.ConnectionInfo, query: str, opened: ExitStack) -> Any:
    """The other driver's cursor for a query, or None."""
    from psycopg.conninfo import make_conninfo

    dbapi: Any = importlib.import_module("adbc_driver_postgresql.dbapi")
    where: dict[str, Any] = info.get_parameters() | {"client_encoding": "UTF8"}
    try:
        other = opened.enter_context(closing(dbapi.connect(make_conninfo(**where, password=info.password))))
        cursor = opened.enter_context(closing(other.cursor()))
        cursor.adbc_prepare(query)
    except dbapi.Error as error:
        log.info("read row by row, because a second connection did not take the query: %s", str(error).split("\n")[0])
        return None
    return cursor


@contextmanager
def _ahead(cursor: Any, query: str) -> Iterator[Iterator[pa.RecordBatch]]:
    """Batches of a query, read in a thread while the last one is worked on; so signals are heard, too."""
    queue: Queue[Any] = Queue(1)
    stopped = threading.Event()
    reader = threading.Thread(target=_read, args=(cursor, query, queue, stopped), name="warehouse", daemon=True)
    reader.start()
    try:
        yield _taken(queue)
    finally:
        stopped.set()
        while reader.is_alive():
            with suppress(Exception):
                cursor.adbc_cancel()
            reader.join(0.2)


def _read(cursor: Any, query: str, queue: Queue[Any], stopped: threading.Event) -> None:
    """Put the batches into the queue, then None, or what went wrong."""
    try:
        cursor.execute(query)
        for batch in cursor.fetch_record_batch():
            _put(batch, queue, stopped)
            if stopped.is_set():
                return
        _put(None, queue, stopped)
    except BaseException as error:  # noqa: BLE001  # it is raised where the batches are taken
        _put(error, queue, stopped)


def _put(item: Any, queue: Queue[Any], stopped: threading.Event) -> None:
    while not stopped.is_set():
        with suppress(Full):
            queue.put(item, timeout=0.2)
            return


def _taken(queue: Queue[Any]) -> Iterator[pa.RecordBatch]:
    while (item := queue.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item


class Columns:
    """A batch that is taken column by column; each is spelled when it is asked for."""

    def __init__(self, batch: pa.RecordBatch, spellers: Sequence[Callable[[pa.Array], Any]]) -> None:
        self._batch, self._spellers = batch, spellers
        self._found: dict[int, Any] = {}

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    def column(self, place: int) -> pa.Array | list[Any]:
        """One column: an array where its text is as it shall be, else the values of the plain cursor."""
        if place not in self._found:
            self._found[place] = self._spellers[place](self._batch.column(place))
        return self._found[place]


def _type(connection: psycopg.Connection[Any], oid: int) -> str:
    known = connection.adapters.types.get(oid)
    return known.name if known and known.oid == oid else ""


def _speller(kind: str, load: _Load, same_zone: bool) -> Callable[[pa.Array], Any]:
    if kind in _AS_IT_IS:
        return lambda texts: texts
    if kind in _MOMENTS and same_zone:
        return lambda texts: _moments(texts, load)
    return lambda texts: _values(texts, load)


def _values(texts: pa.Array, load: _Load) -> pa.Array | list[Any]:
    """Values as psycopg reads them."""
    from include.spelling import text_column

    coded = texts.dictionary_encode()
    values = [load(text.encode()) for text in coded.dictionary.to_pylist()]
    spelled, bad = text_column("", values)
    if not bad:
        return spelled.take(coded.indices)
    return [None if place is None else values[place] for place in coded.indices.to_pylist()]


def _moments(texts: pa.Array, load: _Load) -> pa.Array | list[Any]:
    """``2026-05-01 12:00:00.5+02`` as ``2026-05-01T12:00:00.500000+02:00``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rests = pc.utf8_slice_codeunits(texts, 19).dictionary_encode()
    found = [_AFTER_SECONDS.fullmatch(rest) for rest in rests.dictionary.to_pylist()]
    middles = pc.equal(pc.utf8_slice_codeunits(texts, 10, 11), " ")
    if not all(found) or not pc.all(middles, min_count=0).as_py():
        return _values(texts, load)  # before Christ, after 9999, or infinity
    endings = pa.array([_ending(*each.groups()) for each in found if each], pa.string())
    days, times = pc.utf8_slice_codeunits(texts, 0, 10), pc.utf8_slice_codeunits(texts, 11, 19)
    return pc.binary_join_element_wise(pc.binary_join_element_wise(days, times, "T"), endings.take(rests.indices), "")


def _ending(fraction: str | None, hours: str | None, rest: str) -> str:
    more = f".{fraction:0<6}" if fraction else ""
    return more + (f"{hours}{rest or ':00'}" if hours else "")
