"""DuckDB as the pipeline uses it: out of core, inside a folder that is gone afterwards, never on the network."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

MEMORY = "512MB"


@contextmanager
def open_engine(workplace: Path, memory: str = MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database that spills into ``workplace``, which must be of this task alone; it is removed at the end.

    Args:
        workplace: a folder on a local disk with room for the data.
        memory: what DuckDB may hold before it spills, such as ``512MB``.
    """
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
        with duckdb.connect(config=settings) as connection:
            yield connection
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
