"""The ``python`` delivery: a callable of the user's own, named by a dotted path, given one part at a time."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import ConfigError, PipelineError
from include.object_files import BLOCK_BYTES
from include.objects import ObjectPath
from include.staging import open_whole, scratch

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def folder_for(out: Path) -> Iterator[Path]:
    """Where a callable writes its files: the delivery's folder ``out``, or, if that is in a store, one on a disk.

    The files of the latter are put into the store when the block ends, and none if it fails.
    """
    if not isinstance(out, ObjectPath):
        out.mkdir(parents=True, exist_ok=True)
        yield out
        return
    with scratch(out) as folder:
        yield folder
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            target = out / path.relative_to(folder).as_posix()
            with path.open("rb") as source, open_whole(target) as file:
                shutil.copyfileobj(source, file, BLOCK_BYTES)


def run_callable(dotted: str, frame: "pd.DataFrame", context: dict[str, Any]) -> int:
    """Call ``package.module.function`` or ``package.module:function`` with one part.

    Args:
        dotted: where the callable is.
        frame: the rows of the part, columns as ``rows.SCHEMA``.
        context: ``publisher``, ``batch``, ``part``, ``delivery`` and ``out``, the path of a local folder.

    Returns:
        rows: what the callable returned, or all rows of the frame if it returned None.

    Raises:
        ConfigError: there is no such callable.
        PipelineError: it returned something else than a count.
        Exception: what the callable raised, with a note that says which part it was.
    """
    function = _find(dotted)
    rows = len(frame)
    try:
        answer = function(frame, context)
    except Exception as error:
        error.add_note(f"delivery {context.get('delivery')}: raised by {dotted} in part {context.get('part')}")
        raise
    if answer is None:
        return rows
    if isinstance(answer, bool) or not isinstance(answer, int) or answer < 0:
        raise PipelineError(
            f"delivery {context.get('delivery')}: {dotted} returned {type(answer).__name__}; "
            "it must return None or how many rows it handled"
        )
    return answer


def _find(dotted: str) -> Callable[..., Any]:
    module_name, _, name = dotted.replace(":", ".").rpartition(".")
    try:
        function = getattr(import_module(module_name), name, None)
    except ModuleNotFoundError as error:
        if error.name and module_name.startswith(error.name):
            raise ConfigError(f"callable {dotted}: there is no module {error.name}; is it on PYTHONPATH?") from error
        raise
    if not callable(function):
        raise ConfigError(f"callable {dotted}: module {module_name} has no callable {name}")
    found: Callable[..., Any] = function
    return found
