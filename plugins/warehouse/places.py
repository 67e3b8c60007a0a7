"""Where a source's files lie: a path, a glob, or objects of a store, which are copied to the worker first."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from include.errors import BadInput, ConfigError

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath


@contextmanager
def local_files(place: str, workplace: Path) -> Iterator[Iterator[tuple[str, Path]]]:
    """The files behind a URI: the name to show and the local path of each, in the order of their names.

    Objects of a store are copied into ``workplace`` when their turn comes, and removed before the next one.

    Args:
        place: ``/absolute/path``, ``file:///absolute/path``, or a URI of an object store as Airflow's
            ``ObjectStoragePath`` takes it, such as ``s3://connection@bucket/orders-*.csv.gz``. In the path, ``*`` and
            ``?`` stand for any text and any character between two slashes.
        workplace: a folder of this task alone.

    Raises:
        BadInput: there is no such file. That is never taken for a day without purchases.
        ConfigError: the place cannot be used.
    """
    shutil.rmtree(workplace, ignore_errors=True)
    try:
        yield _local(place) if "://" not in place or place.startswith("file://") else _copies(place, workplace)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _local(place: str) -> Iterator[tuple[str, Path]]:
    path = unquote(place.removeprefix("file://").removeprefix("localhost")) if place.startswith("file://") else place
    if not path.startswith("/"):
        raise ConfigError(f"{place}: give an absolute path, file:///absolute/path, or the URI of an object store.")
    found = sorted(name for name in glob.glob(path.replace("[", "[[]"), include_hidden=True) if Path(name).is_file())
    if not found:
        raise BadInput(_nothing(place))
    return ((name, Path(name)) for name in found)


def _copies(place: str, workplace: Path) -> Iterator[tuple[str, Path]]:
    found = _objects(place)
    if not found:
        raise BadInput(_nothing(place))
    return _copied(found, workplace)


def _objects(place: str) -> list[ObjectStoragePath]:
    """The objects behind a URI, sorted.

    Raises:
        ConfigError: the store is unknown, its library is missing, or it refuses.
    """
    from airflow.sdk import ObjectStoragePath

    scheme, _, rest = place.partition("://")
    bucket, _, pattern = rest.partition("/")
    try:
        root = ObjectStoragePath(f"{scheme}://{bucket}/")
        if "*" not in pattern and "?" not in pattern:
            one = root / pattern
            return [one] if one.is_file() else []
        matching = root.fs.glob(root.path.rstrip("/") + "/" + pattern.replace("[", "[[]"))
        inside = [str(name)[len(root.path.rstrip("/")) :].lstrip("/") for name in sorted(matching)]
        return [path for path in (root / name for name in inside) if path.is_file()]
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{place}: the object store cannot be used ({error}). Install the Airflow provider of {scheme}://, or "
            "give another place."
        ) from error


def _copied(objects: list[ObjectStoragePath], workplace: Path) -> Iterator[tuple[str, Path]]:
    for number, each in enumerate(objects):
        workplace.mkdir(parents=True, exist_ok=True)
        copy = workplace / f"{number:05d}-{each.name}"
        with each.open("rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, 8 * 1024 * 1024)
        size = each.stat().st_size
        if size != copy.stat().st_size:
            raise BadInput(
                f"{each}: of {size:,} bytes {copy.stat().st_size:,} came, or it is being written. Try again."
            )
        yield str(each), copy
        copy.unlink()


def _nothing(place: str) -> str:
    return (
        f"{place}: there is no such file. An empty answer is never taken for a day without rows, because a typing error "
        "looks the same; a day without rows is a file without rows. Nothing was staged."
    )
