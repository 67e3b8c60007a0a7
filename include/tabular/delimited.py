"""CSV files: a header or none, then records, many at a time; a line that breaks the rules is refused by itself."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from include.errors import BadInput, BooksDoNotBalance
from include.extract import choose
from include.tabular.blocks import LINE_END, LONGEST_LINE, SHOWN, Overlong, Places, not_utf8, whole_lines
from include.tabular.part import OTHER_ENCODING, Part
from include.tabular.records import Mask, Records, find_records

_FIRST_BYTES = 2 * LONGEST_LINE  # looked at to learn the columns
_LARGE = 8 * 1024 * 1024  # bytes looked at in one go
_SEPARATOR = re.compile(rb'"?sep=([\x01-\x7f])"?(?:\r\n|\r|\n)', re.IGNORECASE)  # Excel's, before the header
_SMALL = 16 * 1024  # bytes looked at after a broken line; the next one may be near


def read_csv(path: Path, zipped: bool, part: Part, delimiter: str, order: Sequence[str] | None) -> Iterator[None]:
    """Read one CSV file into the part; what is yielded is only the chance to stop.

    Args:
        path: the file.
        zipped: it is gzipped.
        part: takes the rows.
        delimiter: one character between values.
        order: names of the columns if the file has no header, some may be missing at the end; None: it has one.

    Raises:
        BadInput: the header is missing or not wanted, a column is missing, or a gzip file is not whole.
    """
    reader = _Reader(part, delimiter, order)
    for data in whole_lines(path, zipped):
        reader.read(data)
        yield
    reader.finish()


class _Reader:
    """One file: what is left of the last block, the number of the next line, the columns once they are known."""

    def __init__(self, part: Part, delimiter: str, order: Sequence[str] | None) -> None:
        self._part = part
        self._delimiter = delimiter
        self._mark = delimiter.encode()
        self._order = order
        self._places: dict[str, int] = {}
        self._width = 0
        self._rest = b""
        self._line = 1
        self._window = _LARGE
        if len(self._mark) != 1:
            raise BadInput("the delimiter must be one ASCII character.")

    def read(self, data: bytes | Overlong) -> None:
        """Read some whole lines; a record whose quotes are still open waits for more."""
        if isinstance(data, Overlong):
            self._rest = self._read(self._rest, last=True)
            self._refuse_overlong(data)
        else:
            self._rest = self._read(self._rest + data if self._rest else data, last=False)

    def finish(self) -> None:
        """Read what is left.

        Raises:
            BadInput: there is not even a header.
        """
        self._read(self._rest, last=True)
        if not self._width and self._order is None:
            raise BadInput("it is empty, without even a header: what writes it did not finish, or it never has one.")

    def _refuse_overlong(self, line: Overlong) -> None:
        if not self._width:
            raise BadInput("its first line is longer than a mebibyte.")
        self._part.refuse_lines([(self._line, line.begins)])
        self._line += 1

    def _read(self, data: bytes, last: bool) -> bytes:
        """Read what can be read of the data, and give back the rest; after the last there is none."""
        at = 0 if self._width else self._begin(data, last)
        while self._width and at < len(data):
            view = data[at : at + self._window]
            whole = at + len(view) == len(data)
            found = find_records(view, self._mark[0], self._width, whole)
            self._take(view, found)
            at += found.size
            if found.broken or (not found.size and ((last and whole) or len(view) > LONGEST_LINE)):
                at, self._window = self._single(data, at), _SMALL
            elif not found.size and whole:
                break
            else:
                self._window = min(4 * self._window, _LARGE)
        return data[at:]

    def _take(self, view: bytes, found: Records) -> None:
        """Hand on whole records; those that cannot be read are refused."""
        data, bad = view[: found.size], found.bad
        for fault in not_utf8(data, found.ends):
            bad[fault] = bad[fault] or self._values(data[found.starts[fault] : found.ends[fault]]) is None
        if bad.any():
            before = np.searchsorted(found.lines, found.starts, "right")
            self._part.refuse_lines(
                [
                    (self._line + int(before[row]), data[found.starts[row] : found.ends[row]][:SHOWN].rstrip(b"\r\n"))
                    for row in np.flatnonzero(bad)
                ]
            )
            data = _kept(data, found, ~bad)
        rows = int((~bad & ~found.blank).sum())
        if rows:
            self._add(data, rows, found.quoted)
        self._line += len(found.lines)

    def _add(self, data: bytes, rows: int, quoted: bool) -> None:
        places = {str(place) for place in self._places.values()}
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            arrow_csv.ReadOptions(column_names=[str(place) for place in range(self._width)], block_size=len(data) + 1),
            arrow_csv.ParseOptions(
                delimiter=self._delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted
            ),
            arrow_csv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(places, pa.string()),
                include_columns=sorted(places),
                strings_can_be_null=False,
            ),
        )
        if table.num_rows != rows:
            raise BooksDoNotBalance(
                f"from line {self._line} on {rows} rows were counted, and {table.num_rows} read; keep the file and "
                "report it."
            )
        columns = {name: table.column(str(place)).combine_chunks() for name, place in self._places.items()}
        self._part.add(columns, rows)

    def _single(self, data: bytes, at: int) -> int:
        """Read one line by itself; gives the place behind it."""
        end = LINE_END.search(data, at)
        self._one(data[at : end.start()] if end else data[at:].removesuffix(b"\r"))
        self._line += 1
        return end.end() if end else len(data)

    def _one(self, line: bytes) -> None:
        """One line as the standard library reads it, which takes quotes inside unquoted values as they are."""
        values = self._values(line)
        if values is not None:
            self._part.add({name: pa.array([value]) for name, value in values.items()}, 1)
        elif line:
            self._part.refuse_lines([(self._line, line)])

    def _values(self, record: bytes) -> dict[str, str] | None:
        """The wanted values of one record; None if it is none, or if they are not UTF-8. Other values may be."""
        text = io.StringIO(record.decode(errors="surrogateescape"), newline="")
        try:
            rows = list(csv.reader(text, delimiter=self._delimiter, strict=True))
        except csv.Error:
            return None
        if len(rows) != 1 or len(rows[0]) != self._width:
            return None
        values = {name: rows[0][place] for name, place in self._places.items()}
        try:
            "".join(values.values()).encode()
        except UnicodeEncodeError:
            self._part.not_utf8 += 1
            return None
        return values

    def _begin(self, data: bytes, last: bool) -> int:
        """Find out the columns from the first record; gives the place where rows begin."""
        told = _SEPARATOR.match(data) if self._line == 1 else None
        if told:
            self._mark, self._delimiter, self._line = told[1], told[1].decode(), 2
            return told.end() + self._begin(data[told.end() :], last)
        found = find_records(data[:_FIRST_BYTES], self._mark[0], None, whole=len(data) <= _FIRST_BYTES)
        some = np.flatnonzero(~found.blank)
        if not len(some):
            if found.broken or (found.size < len(data) and (last or len(data) > LONGEST_LINE)):
                raise BadInput("its first line cannot be read: a quote in it is broken.")
            self._line += len(found.lines)
            return found.size
        first = int(some[0])
        try:
            text = data[found.starts[first] : found.ends[first]].decode()
            row = next(csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True))
        except UnicodeDecodeError:
            raise BadInput(f"its first line cannot be read as CSV in UTF-8; {OTHER_ENCODING}.") from None
        except csv.Error:
            raise BadInput("its first line cannot be read as CSV; a quote in it is broken.") from None
        if self._order is None:
            self._name([name.strip() for name in row])
            self._line += int(np.searchsorted(found.lines, found.ends[first], "right"))
            return int(found.ends[first])
        self._number(self._order, row, found.values[some])
        return 0

    def _name(self, names: Sequence[str]) -> None:
        wanted = self._part.wanted
        if not any(wanted.knows(name) for name in names):  # they may be values, so they are not shown
            raise BadInput(
                f"its first line has {len(names)} values and none of the wanted columns "
                f"({', '.join(wanted.called(name) for name in wanted.columns)}): the header is missing (header: false "
                "is for files that all have none), or the delimiter is another."
            )
        self._columns(names, wanted.names)

    def _number(self, order: Sequence[str], row: Sequence[str], values: Places) -> None:
        wanted = self._part.wanted
        if any(wanted.knows(value) for value in row):
            raise BadInput("its first line names columns, and the publisher file says header: false.")
        width = len(np.bincount(values)) - 1 - int(np.argmax(np.bincount(values)[::-1]))
        if width > len(order):
            raise BadInput(
                f"its lines have {width} values; without a header there are at most {len(order)}: {', '.join(order)}."
            )
        self._columns(order[:width], {})

    def _columns(self, names: Sequence[str], called: Mapping[str, str]) -> None:
        places = choose(names, self._part.wanted.required, self._part.wanted.optional, called)
        self._places = {name: place for name, place in places.items() if place is not None}
        self._width = len(names)


def _kept(data: bytes, found: Records, keep: Mask) -> bytes:
    """The bytes of the records that are kept."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], keep, [False]]).astype(np.int8)))
    firsts, behind = found.starts[edges[::2]], found.ends[edges[1::2] - 1]
    return b"".join(data[start:end] for start, end in zip(firsts, behind, strict=True))
