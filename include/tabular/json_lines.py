"""JSON Lines: one object a line; DuckDB reads them a block at a time, and a line that is no object is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.engine import open_engine
from include.errors import BadInput
from include.tabular.blocks import LONGEST_LINE, SHOWN, Overlong, line_ends, not_utf8, whole_lines
from include.tabular.part import Part

_PIECE_ROWS = 8_192  # rows handed to DuckDB in one piece, so that several threads have some
_SHOWN_KEYS = 20


def read_json(path: Path, zipped: bool, part: Part) -> Iterator[None]:
    """Read one file of JSON Lines into the part; what is yielded is only the chance to stop.

    Names of keys are matched exactly. A key that is missing in a line is null.

    Raises:
        BadInput: it is one JSON array, a required key is in none of its lines, a value is an object or an array, or a
            gzip file is not whole.
    """
    with open_engine(part.workplace) as engine:
        engine.execute("SET preserve_insertion_order = true")
        reader = _Reader(part, engine)
        for data in whole_lines(path, zipped):
            reader.read(data)
            yield
        reader.finish()


class _Reader:
    """One file: the number of the next line, and which of the wanted keys have come."""

    def __init__(self, part: Part, engine: duckdb.DuckDBPyConnection) -> None:
        self._part = part
        self._engine = engine
        self._line = 1
        self._missing = list(part.wanted.must)
        self._keys: list[str] | None = None
        columns = ", ".join(
            f"CASE WHEN kinds[{n}] <> 'DOUBLE' OR texts[{n}] <> 'NaN' THEN texts[{n}] END, kinds[{n}]"
            for n in range(1, len(part.wanted.columns) + 1)
        )
        paths = ", ".join(_pointer(part.wanted.called(name)) for name in part.wanted.columns)
        self._query = f"""
            SELECT {columns}
            FROM (SELECT json_extract_string(line, [{paths}]) AS texts, json_type(line, [{paths}]) AS kinds FROM lines)
        """

    def read(self, data: bytes | Overlong) -> None:
        """Read some whole lines."""
        if isinstance(data, Overlong):
            self._part.refuse_lines([(self._line, data.begins)])
            self._line += 1
            return
        if self._line == 1 and data.lstrip()[:1] == b"[":
            raise BadInput("it begins with [, so it is one JSON array; wanted is one object a line, without commas.")
        ends = line_ends(np.frombuffer(data, np.uint8), whole=True)
        starts = np.concatenate([[0], ends[:-1]])
        bad = ends - starts > LONGEST_LINE + 2
        garbled = list(not_utf8(data, ends))
        self._part.not_utf8 += len(garbled)
        bad[garbled] = True
        offsets = np.concatenate([[0], ends]).astype(np.int64)
        lines = pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data))
        numbers = np.flatnonzero(~bad)
        readable = lines.filter(pa.array(~bad)) if bad.any() else lines
        kinds = self._ask("SELECT CASE WHEN json_valid(line) THEN json_type(line) END FROM lines", readable)[0]
        objects = pc.fill_null(pc.equal(kinds, "OBJECT"), False).to_numpy(zero_copy_only=False)
        others = np.flatnonzero(~objects)
        blank = pc.equal(pc.utf8_trim_whitespace(readable.take(pa.array(others))), "").to_numpy(zero_copy_only=False)
        refused = np.sort(np.concatenate([np.flatnonzero(bad), numbers[others[~blank]]]))
        self._part.refuse_lines(
            [(self._line + int(row), data[starts[row] : ends[row]][: SHOWN + 2].rstrip(b"\r\n")) for row in refused]
        )
        if objects.any():
            self._take(readable.filter(pa.array(objects)) if len(others) else readable, numbers[objects])
        self._line += len(ends)

    def _take(self, objects: pa.Array, numbers: Any) -> None:
        """Hand on lines that are objects."""
        if self._keys is None:
            self._keys = self._engine.execute("SELECT json_keys(?)", [objects[0].as_py()]).fetchall()[0][0]
        found = self._ask(self._query, objects)
        columns: dict[str, pa.Array] = {}
        for name, texts, kinds in zip(self._part.wanted.columns, found[::2], found[1::2], strict=True):
            called = self._part.wanted.called(name)
            nested = pc.fill_null(pc.is_in(kinds, pa.array(["OBJECT", "ARRAY"], kinds.type)), False)
            if pc.any(nested).as_py():
                line = self._line + int(numbers[pc.index(nested, True).as_py()])
                raise BadInput(
                    f"line {line}: {called} is an object or an array; a column must hold text, numbers or true and "
                    "false. Write out what is inside as keys of their own."
                )
            if name in self._missing and kinds.null_count < len(kinds):
                self._missing.remove(name)
            columns[name] = texts
        self._part.add(columns, len(objects))

    def _ask(self, query: str, lines: pa.Array) -> list[pa.Array]:
        batches = [
            pa.record_batch([lines.slice(at, _PIECE_ROWS)], ["line"]) for at in range(0, len(lines), _PIECE_ROWS)
        ]
        table = pa.Table.from_batches(batches, pa.schema([("line", pa.large_string())]))
        self._engine.register("lines", table)
        try:
            answer = self._engine.sql(query).to_arrow_table()
        finally:
            self._engine.unregister("lines")
        return [column.combine_chunks() for column in answer.columns]

    def finish(self) -> None:
        """Look whether what must be there came at all.

        Raises:
            BadInput: a required key is in no line.
        """
        if self._keys is not None and self._missing:
            raise BadInput(
                f"no line has the key {', '.join(map(self._part.wanted.called, self._missing))}; the first object has "
                f"{', '.join(self._keys[:_SHOWN_KEYS]) or 'none'}. Name the keys in `columns` of the publisher file."
            )


def _pointer(key: str) -> str:
    """A key of an object as a JSON pointer, as a literal of SQL."""
    pointer = "/" + key.replace("~", "~0").replace("/", "~1")
    return "'" + pointer.replace("'", "''") + "'"
