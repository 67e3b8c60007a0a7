"""Rows of a publisher's source, a query or files, into the one staged part of a run: what every sender begins with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from include.errors import ConfigError, PipelineError, StoreRefused
from include.publishers.base import Source
from warehouse.pull import Columns, Query, pull_query
from warehouse.queries import render, sql_text

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.extract import Record

Window = Mapping[str, str]
_DAY, _CLOCKS = timedelta(days=1), timedelta(hours=14)
"""A date, or text compared letter by letter, is less than a day off; no clock is more than 14 hours off UTC."""


def pull_source(
    source: Source,
    columns: Columns,
    run: Path,
    context: Context,
    publisher: str,
    window: Window | None,
    *,
    names: Mapping[str, str] | None = None,
    files: str | None = None,
    run_window: Window | None = None,
    query: Query | None = None,
) -> Record:
    """Stage the rows of a source as part 0 of ``run/raw``, replacing what a former try left.

    Columns of the source that nobody asked for are not kept.

    Args:
        source: a query and its connection, or files.
        columns: what is staged.
        run: the folder of the run.
        context: Airflow's context of the running task.
        publisher: its name.
        window: ``start`` and ``end`` in ISO-8601, for templates; None if the run has none.
        names: how our columns are called in the source, where it differs.
        files: URI of a file or of many, given with the run: they take the place of the publisher's query or files. A
            template that knows only the run's parameters and the names of ``warehouse.queries.render``.
        run_window: the run's own window, where ``window`` is wider.
        query: the source's query, if it is rendered already.

    Raises:
        ConfigError: template, connection or place of the files are not set up rightly.
        BadInput: there is no such file, a required column is missing, or a value is no scalar.
        Exception: what the database driver raises, with a note that names the publisher and the connection.
    """
    if files or source.files:
        return _pull_files(source, columns, run, context, publisher, window, names or {}, files, run_window)
    query = query or source_query(source, context, publisher, window, run_window)
    return pull_query(query, columns, run, 0, names or {})


def source_query(
    source: Source, context: Context, publisher: str, window: Window | None, run_window: Window | None = None
) -> Query:
    """The query of a source, rendered.

    Raises:
        ConfigError: the source is of files, or its template cannot be rendered.
    """
    if not source.sql or not source.connection:
        raise ConfigError(f"publisher {publisher}: this source has no sql; give files with the run")
    sql = render(sql_text(source.sql), context, publisher, window, run_window=run_window)
    return Query(publisher, source.connection, sql, source.batch_rows)


def widened(window: Window, hours: float, time_zone: str) -> dict[str, str]:
    """A window that is so many hours and a day longer on both sides, and 14 hours more if the source's time is not UTC.

    The day and those hours are for queries that compare the window, which is UTC, with what the source calls time: the
    local time of a shop, a date, text. Rows that come too much are left to other runs; one that does not come is lost.

    Raises:
        ConfigError: an edge is no time.
    """
    more = timedelta(hours=hours) + _DAY + (timedelta() if time_zone == "UTC" else _CLOCKS)
    try:
        start, end = (datetime.fromisoformat(window[edge]) for edge in ("start", "end"))
        return {"start": (start - more).isoformat(), "end": (end + more).isoformat()}
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"window: {dict(window)} cannot be widened by {more}: {error}") from None


def _pull_files(
    source: Source,
    columns: Columns,
    run: Path,
    context: Context,
    publisher: str,
    window: Window | None,
    names: Mapping[str, str],
    files: str | None,
    run_window: Window | None,
) -> Record:
    from include.tabular import stage_files
    from warehouse.places import local_files

    template = files or source.files or ""
    place = render(template, context, publisher, window, of_the_run=bool(files), run_window=run_window, what="files")
    try:
        with local_files(place, run) as paths:
            return stage_files(
                paths,
                columns.required,
                columns.optional,
                run / "raw",
                names=names,
                delimiter=source.delimiter,
                header=source.header,
                order=columns.order,
            )
    except StoreRefused:  # where they are staged
        raise
    except PipelineError as error:
        raise type(error)(f"publisher {publisher}: files: {error}") from error
