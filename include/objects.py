"""Objects of a store (S3, Google Cloud Storage, Azure) with the manners of a path, as far as they are asked for here.

``STAGING_URI`` names either a local folder, whose paths are plain ``Path``, or a prefix in an object store, whose paths
are :class:`ObjectPath`. Both stand under the annotation ``Path``; what only a local disk can do (rename, lock, spill)
is asked of ``include.staging``. An object that is being written becomes visible when it is whole, or never: if the
block that writes it fails, its upload is given up.

How a store is opened is the installation's matter: the entry point ``filesystem`` of the group ``newsletters.store``
gives the fsspec file system of a scheme and a connection. Credentials come from there only.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import entry_points
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from include.errors import ConfigError
from include.object_files import BLOCK_BYTES, Ahead, Stat, Whole, words

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    from fsspec import AbstractFileSystem

GROUP = "newsletters.store"
_BUFFER_BYTES = 1024 * 1024


@cache
def plugged(name: str) -> Any:
    """What the installation offers under that name.

    Raises:
        ConfigError: nothing does.
    """
    for found in entry_points(group=GROUP, name=name):
        return found.load()
    raise ConfigError(f"nothing offers {name!r} for object stores (entry point group {GROUP}): install the project")


@cache
def _opened(scheme: str, connection: str, _process: int) -> AbstractFileSystem:
    return plugged("filesystem")(scheme, connection or None)


def filesystem(scheme: str, connection: str) -> AbstractFileSystem:
    """The file system of a store, one for each process."""
    import os

    return _opened(scheme, connection, os.getpid())


class ObjectPath:
    """One object or prefix of a store: ``scheme://connection@bucket/key``.

    ``str`` leaves the connection out: so DuckDB and pyarrow, which are handed the file system, know the object.
    """

    __slots__ = ("_connection", "_path", "_scheme")

    def __init__(self, scheme: str, connection: str, path: PurePosixPath) -> None:
        self._scheme, self._connection, self._path = scheme, connection, path

    @classmethod
    def from_uri(cls, uri: str) -> ObjectPath:
        """Read a URI.

        Raises:
            ConfigError: it has a password, or no bucket.
        """
        found = re.fullmatch(r"([a-z][a-z0-9+.-]*)://(?:([^@/:]+)@)?([^/@:]+)(/.*)?", uri)
        if not found:
            shown = re.sub(r"//[^/]*@", "//…@", uri)
            raise ConfigError(f"staging: cannot use {shown}; an object store is scheme://connection@bucket/prefix")
        scheme, connection, bucket, key = found.groups()
        return cls(scheme, connection or "", PurePosixPath(bucket, *(key or "").strip("/").split("/")))

    def __str__(self) -> str:
        return f"{self._scheme}://{self._path}"

    def __repr__(self) -> str:
        return f"ObjectPath({self.as_uri()!r})"

    @property
    def shown(self) -> str:
        """For people: whose credentials are used is said where no connection is named."""
        return str(self) if self._connection else f"{self} (its URI names no connection: as this machine's identity)"

    def as_uri(self) -> str:
        """With the connection; :func:`include.staging.to_path` reads it."""
        return f"{self._scheme}://{self._connection}@{self._path}" if self._connection else str(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and self.as_uri() == other.as_uri()

    def __hash__(self) -> int:
        return hash(self.as_uri())

    def __lt__(self, other: ObjectPath) -> bool:
        return self._path < other._path

    def _with(self, path: PurePosixPath) -> ObjectPath:
        return ObjectPath(self._scheme, self._connection, path)

    def __truediv__(self, name: str | PurePosixPath) -> ObjectPath:
        return self._with(self._path / name)

    def joinpath(self, *names: str) -> ObjectPath:
        """As of a path."""
        return self._with(self._path.joinpath(*names))

    @property
    def name(self) -> str:
        """As of a path."""
        return self._path.name

    @property
    def stem(self) -> str:
        """As of a path."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """As of a path."""
        return self._path.suffix

    @property
    def parent(self) -> ObjectPath:
        """As of a path."""
        return self._with(self._path.parent)

    @property
    def parents(self) -> list[ObjectPath]:
        """As of a path, the bucket last."""
        return [self._with(path) for path in self._path.parents if path.name]

    def with_name(self, name: str) -> ObjectPath:
        """As of a path."""
        return self._with(self._path.with_name(name))

    @property
    def fs(self) -> AbstractFileSystem:
        """The file system of the store."""
        return filesystem(self._scheme, self._connection)

    def _kind(self) -> str:
        """``file``, ``directory`` or nothing; a store that does not answer is an error, not a no."""
        try:
            with words(self.shown):
                return str(self.fs.info(str(self))["type"])
        except FileNotFoundError:
            return ""

    def exists(self) -> bool:
        """Whether there is an object of that name, or any below it."""
        return bool(self._kind())

    def is_file(self) -> bool:
        """Whether there is an object of that name."""
        return self._kind() == "file"

    def stat(self) -> Stat:
        """As of a path, as far as a store knows it.

        Raises:
            FileNotFoundError: there is no such object.
        """
        with words(self.shown):
            info = self.fs.info(str(self))
            if info["type"] != "file":
                raise FileNotFoundError
        return Stat(info["size"], lambda: self.fs.modified(str(self)))

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """Read by ranges (``rb``, ``r``), or write as one upload in parts (``wb``), used as a ``with`` block.

        An object that is replaced while it is read ends in an error, never in a mixture.

        Raises:
            FileNotFoundError: there is nothing to read.
        """
        if mode == "wb":
            return Whole(lambda: self.fs.open(str(self), "wb", block_size=BLOCK_BYTES), self.shown)
        if mode not in ("r", "rb"):
            raise ValueError(f"an object cannot be opened as {mode!r}")
        file: Any = Ahead(lambda: self.fs.open(str(self), "rb", block_size=BLOCK_BYTES, cache_type="none"), self.shown)
        file = file if buffering == 0 else io.BufferedReader(file, _BUFFER_BYTES)
        return file if mode == "rb" else io.TextIOWrapper(file, encoding or "utf-8", errors, newline)

    def read_bytes(self) -> bytes:
        """As of a path; in one request, so of one moment."""
        with words(self.shown):
            return bytes(self.fs.cat_file(str(self), max_concurrency=1))

    def read_text(self, encoding: str = "utf-8") -> str:
        """As of a path."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, data: bytes) -> int:
        """As of a path; all of it becomes visible at once."""
        with words(self.shown, "write"):
            self.fs.pipe_file(str(self), data)
        return len(data)

    def write_text(self, data: str, encoding: str = "utf-8") -> int:
        """As of a path; all of it becomes visible at once."""
        return self.write_bytes(data.encode(encoding))

    def unlink(self, missing_ok: bool = False) -> None:
        """As of a path."""
        try:
            with words(self.shown, "delete"):
                self.fs.rm_file(str(self))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def copy_to(self, target: ObjectPath) -> None:
        """Let the store copy it to another name of its own; all of it becomes visible at once."""
        with words(f"{self.shown} → {target}", "copy"):
            self.fs.cp_file(str(self), str(target))

    def remove_tree(self) -> None:
        """Remove all objects below that name; nothing happens if there are none, or others remove them too."""
        with suppress(FileNotFoundError), words(self.shown, "delete"):
            self.fs.rm(str(self), recursive=True)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a store has no folders."""

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """As of a path, and like it for what nothing depends on: what is needed is named by a manifest."""
        with words(self.shown, "list"):
            names = sorted(self.fs.glob(f"{str(self).replace('[', '[[]')}/{pattern}"))
        for found in names:
            yield self._with(PurePosixPath(found.lstrip("/")))

    def iterdir(self) -> Iterator[ObjectPath]:
        """As of a path."""
        return self.glob("*")


def arrow(path: Path) -> Any:
    """The ``filesystem=`` with which pyarrow reads and writes ``str(path)``; None for a local one."""
    if not isinstance(path, ObjectPath):
        return None
    from pyarrow import PythonFile
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    whose = path.shown.removeprefix(str(path))

    class Handler(FSSpecHandler):  # type: ignore[misc]
        """Says that an object is not there only if the store says so, not if it does not answer."""

        def get_file_info(self, paths: list[str]) -> Any:
            with words(", ".join(path + whose for path in paths)):
                return super().get_file_info(paths)

        def open_input_file(self, path: str) -> Any:
            return PythonFile(Ahead(lambda: self.fs.open(path, "rb", cache_type="none"), path + whose), mode="r")

    return PyFileSystem(Handler(path.fs))


@contextmanager
def attached(database: duckdb.DuckDBPyConnection, path: Path) -> Iterator[None]:
    """Let DuckDB read and write below ``path``, by ``str(path)``; nothing is needed for a local one.

    Raises:
        Exception: in the block, the store did not do what DuckDB asked; as of ``words``.
    """
    if not isinstance(path, ObjectPath):
        yield
        return
    import duckdb

    database.register_filesystem(path.fs)
    try:
        yield
    except duckdb.Error as error:
        if not str(error).startswith("Traceback"):  # DuckDB's own
            raise
        said = re.split(r'File "[^\n]*\n', str(error))[-1]
        kinds: dict[str, type[OSError]] = {"PermissionError": PermissionError, "FileNotFoundError": FileNotFoundError}
        with words(f"below {path.parent.shown}"):
            raise kinds.get(said.partition(":")[0], OSError)(said) from error
