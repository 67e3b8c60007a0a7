"""The index beside each upload file: what lies in it, unit by unit, in the order of the file.

A unit is what is sent once: a whole session, or one interaction. Columns:

- ``key``: BLAKE2b of the unit's id in UTF-8, 16 bytes. Ids themselves stay in the data.
- ``content``: 64 bits of a hash of what is sent of it, in one spelling that no setting of the files changes.
- ``rows``, ``bytes``: of its lines; units lie one after the other, so where one begins is a running sum.
- ``day``: days since 1970-01-01 (UTC) of its last purchase; null if no time is known.

Both hashes are kept in ledgers for years: they must never change.
"""

import hashlib
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

KEY_BYTES = 16
INDEX = pa.schema(
    [
        ("key", pa.binary(KEY_BYTES)),
        ("content", pa.int64()),
        ("rows", pa.int32()),
        ("bytes", pa.int64()),
        ("day", pa.int32()),
    ]
)
_key = partial(hashlib.blake2b, digest_size=KEY_BYTES)
_content = partial(hashlib.blake2b, digest_size=8)


def keys_of(ids: pa.Array) -> pa.Array:
    """The keys of units, from an array of their ids as text; none is null."""
    digests = b"".join([_key(text).digest() for text in ids.cast(pa.large_binary()).to_pylist()])
    return pa.Array.from_buffers(pa.binary(KEY_BYTES), len(ids), [None, pa.py_buffer(digests)])


def contents_of(texts: pa.Array) -> pa.Array:
    """The content hashes of units, from an array of all that is sent of each as one text; none is null."""
    digests = b"".join([_content(text).digest() for text in texts.cast(pa.large_binary()).to_pylist()])
    return pa.Array.from_buffers(pa.int64(), len(texts), [None, pa.py_buffer(digests)])


class IndexFile:
    """One index while it is written."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sink = path.open("wb")
        self._writer = pq.ParquetWriter(
            self._sink, INDEX, compression="none", use_dictionary=False, write_statistics=False, store_schema=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.close()
        self._sink.__exit__(kind, error, at)

    def close(self) -> None:
        """End the file."""
        self.__exit__(None, None, None)

    def write(self, units: pa.Table) -> None:
        """Append units, in the order in which they lie in the file."""
        if len(units):
            self._writer.write_table(units)


class IndexFiles:
    """The indexes of numbered files: one is cut where its file is, and has its number."""

    def __init__(self, folder: Path, name: str) -> None:
        self.names: list[str] = []
        self._folder, self._name = folder, name
        self._open: IndexFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._open:
            self._open.__exit__(kind, error, at)

    def write(self, units: pa.Table) -> None:
        """Append units to the open index, or to a new one after :meth:`cut`."""
        if not len(units):
            return
        if not self._open:
            path = self._folder / f"{self._name}-{len(self.names):05d}.parquet"
            self._open = IndexFile(path)
            self.names.append(f"{self._folder.name}/{path.name}")
        self._open.write(units)

    def cut(self) -> None:
        """End the open index, if there is one."""
        if self._open:
            self._open.close()
            self._open = None
