"""Where a source's files lie: a path, a glob, or objects of a store, which are copied to the worker first."""

from __future__ import annotations

import glob
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from include.errors import BadInput, ConfigError
from include.staging import scratch

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_COPIED_BYTES = 8 * 1024 * 1024


@contextmanager
def local_files(place: str, near: Path) -> Iterator[Iterator[tuple[str, Path]]]:
    """The files behind a URI: the name to show and the local path of each, in the order of their names.

    Objects of a store are copied to a local disk when their turn comes, and removed before the next one.

    Args:
        place: ``/absolute/path``, ``file:///absolute/path``, or a URI of an object store as Airflow's
            ``ObjectStoragePath`` takes it, such as ``s3://connection@bucket/orders-*.csv.gz``. In the path, ``*`` and
            ``?`` stand for any text and any character between two slashes.
        near: copies lie near this folder, or, if that is in a store, in TMPDIR.

    Raises:
        BadInput: there is no such file. That is never taken for a day without purchases.
        ConfigError: the place cannot be used.
    """
    if "://" not in place or place.startswith("file://"):
        yield _local(place)
        return
    with scratch(near) as workplace:
        yield _copies(place, workplace)


def shown(place: str) -> str:
    """A place without what may be secret in it: who asks, and the query of a URI. ``?`` alone is part of a glob."""
    query = r"\?.*" if place.lower().startswith("http") else r"\?[^/?]*=.*"
    return re.sub(query, "", re.sub(r"^(\w[\w.+-]*:/+)[^/]*@", r"\1", place), flags=re.DOTALL)


def _local(place: str) -> Iterator[tuple[str, Path]]:
    path = unquote(place.removeprefix("file://").removeprefix("localhost")) if place.startswith("file://") else place
    if not path.startswith("/"):
        raise ConfigError(
            f"{shown(place)}: give an absolute path, file:///absolute/path, or the URI of an object store."
        )
    names = glob.glob(path.replace("[", "[[]"))  # noqa: PTH207  # a path of Path would have to be cut at its first *
    found = sorted(name for name in names if Path(name).is_file())
    if not found:
        raise BadInput(_nothing(place))
    return ((name, Path(name)) for name in found)


def _copies(place: str, workplace: Path) -> Iterator[tuple[str, Path]]:
    """The objects behind a URI, each copied when its turn comes.

    Raises:
        BadInput: there is no such object.
        ConfigError: the store is unknown, or its library is missing.
    """
    from airflow.sdk import ObjectStoragePath

    scheme, _, rest = place.partition("://")
    bucket, _, pattern = rest.partition("/")
    if ":" in bucket.rpartition("@")[0]:
        raise ConfigError(
            f"{shown(place)}: a password must not stand in a URI, where logs and forms show it. Put it into an Airflow "
            "connection, and give the id of that before the @."
        )
    try:
        root = ObjectStoragePath(f"{scheme}://{bucket}/")
        store = root.fs  # Airflow's, with the connection
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{shown(place)}: the object store cannot be used ({error}). Install the Airflow provider that knows "
            f"{scheme}://, or give another place."
        ) from error
    path = f"{root.path.rstrip('/')}/{pattern}"
    found = sorted(store.glob(path.replace("[", "[[]"))) if set("*?") & set(pattern) else [path]
    objects = [name for name in found if store.isfile(name)]
    if not objects:
        raise BadInput(_nothing(place))
    return _copied(scheme, store, objects, workplace)


def _copied(
    scheme: str, store: AbstractFileSystem, objects: Sequence[str], workplace: Path
) -> Iterator[tuple[str, Path]]:
    for number, name in enumerate(objects):
        copy = workplace / f"{number:05d}{''.join(Path(name).suffixes[-2:])}"
        called = shown(f"{scheme}://{name.lstrip('/')}")
        size = store.info(name)["size"]
        with store.open(name, "rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, _COPIED_BYTES)
        if size is not None and size != copy.stat().st_size:
            raise BadInput(
                f"{called}: {copy.stat().st_size:,} bytes came of {size:,}; it is being written, or was replaced. "
                "Nothing was staged. Clear the task when it is whole."
            )
        yield called, copy
        copy.unlink()


def _nothing(place: str) -> str:
    return (
        f"{shown(place)}: there is no such file. That is never taken for a day without rows, because a slip of the pen "
        "looks the same; a day without rows is a file without rows. Nothing was staged."
    )
