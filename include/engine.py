"""DuckDB as the pipeline uses it: out of core, spilling into a folder that is gone afterwards.

The network it knows only by the file system of an object store, where the data lie in one.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from include.objects import ObjectPath, attached

MEMORY = "512MB"


@contextmanager
def open_engine(workplace: Path, memory: str = MEMORY, data: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database that spills into ``workplace``, which must be of this task alone; it is removed at the end.

    Args:
        workplace: a folder with room for the data. If it is in an object store, a folder in TMPDIR stands for it.
        memory: what DuckDB may hold before it spills, such as ``512MB``.
        data: any path of the data, if they lie elsewhere than ``workplace``.
    """
    if isinstance(workplace, ObjectPath):
        with (
            TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            open_engine(Path(folder) / "engine", memory, data or workplace) as connection,
        ):
            yield connection
        return
    shutil.rmtree(workplace, ignore_errors=True)
    workplace.mkdir(parents=True)
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "temp_directory": str(workplace),
        "threads": min(4, os.cpu_count() or 1),
        "autoinstall_known_extensions": False,
        "preserve_insertion_order": False,
        "arrow_large_buffer_size": True,
    }
    try:
        with duckdb.connect(config=settings) as connection, attached(connection, data or workplace):
            yield connection
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
