"""The staged part while it is written from files: good rows, refused ones, and the record that commits both."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.extract import Record, choose
from include.spelling import LONGEST
from include.staging import atomic_write, write_json
from include.tabular.blocks import SHOWN

log = logging.getLogger(__name__)

UNREADABLE = "unreadable_line"
TOO_LONG = "too_long"
OTHER_ENCODING = "probably it is Windows-1250: write the file as UTF-8"
_GROUP_ROWS = 50_000
_TOLD = 5  # line numbers named in the log


@dataclass(frozen=True)
class Wanted:
    """The columns of the part, and how they are called in the source where it differs."""

    required: Sequence[str]
    optional: Sequence[str]
    names: Mapping[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of the part."""
        return (*self.required, *self.optional)

    @property
    def must(self) -> list[str]:
        """The columns that must be there: the required ones, and those that a name is given for."""
        return [name for name in self.columns if name in self.required or name in self.names]

    def called(self, name: str) -> str:
        """How a column is called in the source."""
        return self.names.get(name, name)

    def places(self, columns: Sequence[str]) -> dict[str, int | None]:
        """For each column its place in a file of these columns.

        Raises:
            BadInput: one is missing or came twice.
        """
        return choose(columns, self.required, self.optional, self.names)

    def knows(self, name: str) -> bool:
        """Whether one of the wanted columns is called so, by us or in the source."""
        known = {each.casefold() for column in self.columns for each in (column, self.called(column))}
        return name.strip().casefold() in known


class Part:
    """``part-NNNNN.parquet`` and its ``refused-`` sister; without :meth:`commit` neither is there afterwards.

    Attributes:
        not_utf8: how many lines of the present file were refused for that; their reader counts them.
    """

    def __init__(self, raw: Path, number: int, wanted: Wanted) -> None:
        self.wanted = wanted
        self.rows = self.refused = 0
        self.workplace = raw.parent / ".tabular"
        self._raw, self._number = raw, number
        self._files = ExitStack()
        self._name = ""
        self.not_utf8 = 0
        self._lines: list[int] = []
        self._pending: list[pa.RecordBatch] = []
        self._waiting = 0
        self._schema = pa.schema([(name, pa.string()) for name in wanted.columns])

    def __enter__(self) -> Self:
        (self._raw / f"part-{self._number:05d}.json").unlink(missing_ok=True)
        with ExitStack() as files:
            self._good = self._open(files, "part", self._schema)
            self._bad = self._open(files, "refused", self._schema.append(pa.field("reason", pa.string())))
            self._files = files.pop_all()
        return self

    def _open(self, files: ExitStack, kind: str, schema: pa.Schema) -> pq.ParquetWriter:
        path = files.enter_context(atomic_write(self._raw / f"{kind}-{self._number:05d}.parquet"))
        return files.enter_context(pq.ParquetWriter(path, schema))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._files.__exit__(kind, error, at)

    def begin(self, name: str) -> None:
        """Go on to the next file."""
        self._name, self._lines, self.not_utf8 = name, [], 0

    def first_unreadable(self) -> str:
        """Which lines of this file could not be read, for the log."""
        if not self._lines:
            return ""
        why = f"; {self.not_utf8:,} are not UTF-8, {OTHER_ENCODING}" if self.not_utf8 else ""
        return f"; the first unreadable lines are {', '.join(map(str, self._lines))}{why}"

    def add(self, columns: Mapping[str, pa.Array], rows: int) -> None:
        """Write rows; a column that is not given is null. Values that are longer than any id may be are refused."""
        arrays = [columns[name] if name in columns else pa.nulls(rows, pa.string()) for name in self.wanted.columns]
        long = [pc.fill_null(pc.greater(pc.binary_length(array), LONGEST), False) for array in arrays]
        if any(pc.any(each).as_py() for each in long):
            bad = long[0]
            for each in long[1:]:
                bad = pc.or_(bad, each)
            cut = [pc.utf8_slice_codeunits(array.filter(bad), 0, SHOWN).cast(pa.string()) for array in arrays]
            self.refuse(cut, pa.repeat(pa.scalar(TOO_LONG), len(cut[0])))
            arrays = [array.filter(pc.invert(bad)) for array in arrays]
        self._pending.append(pa.record_batch([array.cast(pa.string()) for array in arrays], self._schema))
        self.rows += len(arrays[0])
        self._waiting += len(arrays[0])
        if self._waiting >= _GROUP_ROWS:
            self._write_pending()

    def _write_pending(self) -> None:
        """Write what came in small pieces as one row group."""
        self._good.write_table(pa.Table.from_batches(self._pending, self._schema).combine_chunks())
        self._pending, self._waiting = [], 0

    def refuse(self, values: Sequence[pa.Array], reasons: pa.Array) -> None:
        """Write refused rows."""
        names = [*self.wanted.columns, "reason"]
        self._bad.write_table(pa.table([*values, reasons], names=names))
        self.refused += len(reasons)

    def refuse_lines(self, lines: Sequence[tuple[int, bytes]]) -> None:
        """Refuse lines that cannot be read: their numbers, and what they begin with.

        The first column tells where the line is and how it begins.
        """
        if not lines:
            return
        self._lines += [number for number, _ in lines[: _TOLD - len(self._lines)]]
        shown = [
            f"{self._name}, line {number}: {line[:SHOWN].decode('utf-8', 'backslashreplace')}" for number, line in lines
        ]
        nothing = pa.nulls(len(lines), pa.string())
        others = [nothing] * (len(self.wanted.columns) - 1)
        self.refuse([pa.array(shown, pa.string()), *others], pa.repeat(pa.scalar(UNREADABLE), len(lines)))

    def commit(self) -> Record:
        """Close both files and write the record."""
        if self._pending:
            self._write_pending()
        self._files.close()
        record: Record = {
            "rows": self.rows,
            "refused": self.refused,
            "complete": True,
            "columns": list(self.wanted.columns),
        }
        write_json(self._raw / f"part-{self._number:05d}.json", dict(record))
        return record
