"""Pins come to the staging store: NDJSON files as they are, since their line numbers matter; anything else as rows."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import PipelineError, StoreRefused
from include.pins.drafts import FILES
from include.pins.reading import is_ndjson
from include.pins.rows import OPTIONAL, REQUIRED
from include.publishers.senders import Pins
from include.staging import atomic_write, remove_folder, write_json
from warehouse.pull import Columns
from warehouse.queries import render
from warehouse.source import pull_source

if TYPE_CHECKING:
    from airflow.sdk import Context


def pull_pins(
    settings: Pins,
    run: Path,
    context: Context,
    publisher: str,
    window: Mapping[str, str] | None,
    files: str | None = None,
) -> dict[str, Any]:
    """Stage the publisher's pins in ``run/raw``, replacing what a former try left.

    Args:
        settings: of the publisher.
        run: the folder of the run.
        context: Airflow's context of the running task.
        publisher: its name.
        window: for templates; None if the run has none.
        files: given with the run, in place of the publisher's query or files.

    Raises:
        ConfigError: template, connection or place of the files are not set up rightly.
        BadInput: there is no such file, a required column is missing, or a value is no scalar.
    """
    remove_folder(run / "raw")
    template = files or settings.files
    if template:
        place = render(template, context, publisher, window, of_the_run=bool(files), what="files")
        if is_ndjson(place):
            return _copy(publisher, place, run)
    columns = Columns(REQUIRED, OPTIONAL)
    record = pull_source(settings, columns, run, context, publisher, window, names={}, files=files)
    return {"rows": record["rows"], "refused": record["refused"]}


def _copy(publisher: str, place: str, run: Path) -> dict[str, Any]:
    """Copy files of scopes, and say last how they were called; that is the commit."""
    from warehouse.places import local_files

    staged = []
    try:
        with local_files(place, run) as found:
            for number, (name, path) in enumerate(found):
                staged.append({"name": name, "staged": f"scopes-{number:05d}{_ending(name)}"})
                with atomic_write(run / "raw" / staged[-1]["staged"]) as temporary:
                    shutil.copyfile(path, temporary)
    except StoreRefused:  # where they are staged
        raise
    except PipelineError as error:
        raise type(error)(f"publisher {publisher}: files: {error}") from error
    write_json(run / "raw" / FILES, {"files": staged})
    return {"files": len(staged)}


def _ending(name: str) -> str:
    return ".ndjson.gz" if name.lower().endswith(".gz") else ".ndjson"
