"""Files of an object store, read ahead and written whole, and the words for what a store refuses or fails to do."""

import errno
import io
import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from include.errors import PipelineError, StoreError, StoreRefused

BLOCK_BYTES = 8 * 1024 * 1024
"""Of a part of a multipart upload, and of a ranged read; S3 allows 10,000 parts, so 80 GB an object."""
JUMP_BYTES = 64 * 1024
"""The least that is read after a jump: the end of a Parquet file, say."""
log = logging.getLogger(__name__)


@contextmanager
def words(name: str, doing: str = "read") -> Iterator[None]:
    """What the libraries of the stores raise, in words for a person.

    Args:
        name: of the object.
        doing: what is asked of the store: ``write``, ``read``, ``delete``, ``copy`` or ``list``.

    Raises:
        FileNotFoundError: there is no such object.
        StoreRefused: the store refuses, or there is no bucket to write to.
        StoreError: anything else; the library has tried several times.
    """
    try:
        yield
    except (PipelineError, StoreError):
        raise
    except FileNotFoundError as error:
        if doing != "write":
            raise FileNotFoundError(errno.ENOENT, "there is no such object", name) from error
        raise StoreRefused(f"{name}: nothing can be written there ({_line(error)}). Is there such a bucket?") from error
    except PermissionError as error:
        raise StoreRefused(
            f"{name}: the object store refuses to {doing} it ({_line(error)}). Look at the credentials, and at what "
            "they may do (docs/object-storage.md)."
        ) from error
    except Exception as error:
        raise StoreError(
            f"{name}: the object store did not do what was asked, nor when asked again ({type(error).__name__}: "
            f"{_line(error)}). What lies there is whole; the task may be tried again."
        ) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[-300:]


class Stat:
    """``st_size`` in bytes, and ``st_mtime`` in epoch seconds, which some stores must be asked for.

    Args:
        size: in bytes.
        modified: asks when the object was written.
    """

    def __init__(self, size: int, modified: Callable[[], datetime]) -> None:
        self.st_size = size
        self._modified = modified

    @property
    def st_mtime(self) -> float:
        """When the object was written."""
        return self._modified().timestamp()


class Ahead(io.RawIOBase):
    """An object read block by block; while it is read in order, the next block comes while this one is used.

    After a jump only what is wanted is read, so that the end of a large file costs little.

    Args:
        open_file: opens the object, without a cache.
        name: for people.
    """

    def __init__(self, open_file: Callable[[], Any], name: str) -> None:
        self._name = name
        with words(name):
            self._file = open_file()
        self._size = int(self._file.size)
        self._thread = ThreadPoolExecutor(1)
        self._at = self._begins = 0
        self._block = b""
        self._next: tuple[int, Future[bytes]] | None = None

    def readable(self) -> bool:
        """As of a file."""
        return True

    def seekable(self) -> bool:
        """As of a file."""
        return True

    def tell(self) -> int:
        """As of a file."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of a file."""
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        """As of a file; less than asked for comes only at the end, since pyarrow asks once."""
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view) and (at := self._at + done) < self._size:
            if not self._begins <= at < self._begins + len(self._block):
                self._turn_to(at, len(view) - done)
            piece = memoryview(self._block)[at - self._begins :][: len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
        self._at += done
        return done

    def _turn_to(self, begins: int, wanted: int) -> None:
        coming, self._next = self._next, None
        in_order = begins == self._begins + len(self._block)
        if coming and coming[0] == begins:
            block = coming[1].result()
        else:
            size = BLOCK_BYTES if in_order else min(BLOCK_BYTES, max(JUMP_BYTES, wanted))
            block = self._thread.submit(self._fetch, begins, size).result()
        self._begins, self._block = begins, block
        after = begins + len(block)
        if in_order and after < self._size:
            self._next = after, self._thread.submit(self._fetch, after, BLOCK_BYTES)

    def _fetch(self, begins: int, size: int) -> bytes:
        size = min(size, self._size - begins)
        with words(self._name):
            self._file.seek(begins)
            block = bytes(self._file.read(size))
            if len(block) != size:
                raise OSError(f"{len(block):,} bytes came of the {size:,} from byte {begins:,} on")
        return block

    def close(self) -> None:
        """As of a file."""
        if not self.closed:
            super().close()
            self._thread.shutdown(cancel_futures=True)
            self._file.close()


class Whole(io.RawIOBase):
    """A file that becomes visible when it is closed, whole; given up if the block that writes it fails.

    Args:
        open_file: opens the object for writing.
        name: for people.
    """

    def __init__(self, open_file: Callable[[], Any], name: str) -> None:
        self._file: Any = None
        self._name = name
        self._failed: BaseException | None = None
        with words(name, "write"):
            self._file = open_file()

    def writable(self) -> bool:
        """As of a file."""
        return True

    def write(self, data: Any) -> int:
        """As of a file; one that failed once stays failed, whoever closes it."""
        if self._failed:
            raise self._failed
        try:
            with self._words():
                return int(self._file.write(data))
        except BaseException as error:
            self._failed = error
            self.discard()
            raise

    def tell(self) -> int:
        """As of a file."""
        return int(self._file.tell())

    def close(self) -> None:
        """As of a file."""
        if self.closed:
            return
        try:
            with self._words():
                self._file.close()
        except BaseException:
            self.discard()
            raise
        super().close()

    @contextmanager
    def _words(self) -> Iterator[None]:
        with words(self._name, "write"):
            try:
                yield
            except FileNotFoundError as error:
                if not self._file.offset:
                    raise
                raise OSError(f"the upload had begun and is gone, or is done: {error}") from error

    def discard(self) -> None:
        """Give the upload up: nothing of it becomes visible."""
        if self.closed:
            return
        super().close()
        self._file.closed = True
        try:
            self._file.discard()
        except Exception as error:  # noqa: BLE001 - what failed before is what matters
            log.warning("%s: parts of an upload that was given up are left (%s)", self._name, _line(error))

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        if self._file is not None and not self.closed and not sys.is_finalizing():
            self.discard()
