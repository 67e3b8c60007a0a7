"""From the ``sql`` of a publisher to the text a database gets.

Finding the file, rendering the template, narrowing to one partition. What a template may use, besides everything
Airflow offers in templates (``params``, ``ds``, ``var`` ...):

* ``publisher``: the publisher's name.
* ``window_start``, ``window_end``: the run's window as datetimes in UTC, half open. They are written into the text,
  so quote them: ``WHERE bought_at >= '{{ window_start }}' AND bought_at < '{{ window_end }}'`` gives
  ``'2017-01-01 00:00:00+00:00'``. Where times are stored as text, give them the same shape:
  ``{{ window_start.strftime('%Y-%m-%d %H:%M:%S') }}``, or ``{{ window_start | ds }}`` for whole days.
* ``run_start``, ``run_end``: the same, but for past purchases whose sessions belong to the window of their first
  purchase: there ``window_start`` and ``window_end`` are some hours wider on both sides, so that a session that crosses
  the border is read whole, and these two are the run's own window.
* ``partition``, ``partitions``: number of this partition, from 0, and how many there are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from include.errors import ConfigError
from include.publishers.config import publishers_folder
from include.staging import PROJECT_ROOT

if TYPE_CHECKING:
    from airflow.sdk import Context


class Partition(TypedDict):
    """One mapped pull: number ``index`` of ``of``; keys from ``low`` up to but not ``high``, None is open."""

    index: int
    of: int
    low: int | None
    high: int | None


WHOLE: Partition = {"index": 0, "of": 1, "low": None, "high": None}


def sql_folders() -> list[Path]:
    """Where SQL files are looked for: ``PUBLISHERS_DIR``, with the publishers that name them, then ``include/sql``."""
    own = [publishers_folder().resolve()] if os.environ.get("PUBLISHERS_DIR") else []
    return [*own, PROJECT_ROOT / "include" / "sql"]


def sql_text(sql: str) -> str:
    """The template: ``sql`` itself, or the content of the file that it names.

    Raises:
        ConfigError: there is no such file.
    """
    name = sql.strip()
    if not re.fullmatch(r"\S+\.sql", name):
        return sql
    for folder in sql_folders():
        path = (folder / name).resolve()
        if path.is_file() and path.is_relative_to(folder.resolve()):
            return path.read_text("utf-8")
    looked = ", ".join(str(folder) for folder in sql_folders())
    raise ConfigError(f"sql: no file {name!r}; looked below {looked}")


def render(
    template: str,
    context: Context,
    publisher: str,
    window: Mapping[str, str] | None,
    partition: Partition = WHOLE,
    of_the_run: bool = False,
    run_window: Mapping[str, str] | None = None,
    what: str = "sql",
) -> str:
    """The query's text, without the semicolon at its end; or where a publisher's files lie.

    Args:
        template: as ``sql_text`` gives it.
        context: Airflow's context of the running task.
        publisher: its name.
        window: ``start`` and ``end`` in ISO-8601, or None: then a template that uses the window is refused.
        partition: which part of the audience.
        of_the_run: the template came with the run's parameters: whoever may trigger a run must not read Airflow's
            connections and variables by it, so it knows only the run's parameters and the names of this function.
        run_window: the run's own window, where ``window`` is wider.
        what: key of the publisher file that is rendered, for errors.

    Raises:
        ConfigError: the window is no time, or the template has a mistake, an unknown name, or comes out empty.
    """
    from jinja2 import StrictUndefined, TemplateError

    names = {
        "publisher": publisher,
        "partition": partition["index"],
        "partitions": partition["of"],
        **_edges(publisher, "window", window),
        **_edges(publisher, "run", run_window or window),
    }
    environment = context["task"].get_template_env()
    environment.undefined = StrictUndefined  # a name that is not there must not become nothing in SQL
    known = {"params": context["params"]} if of_the_run else context
    try:
        rendered = context["task"].render_template(template, cast("Context", {**known, **names}), environment)
    except TemplateError as error:
        hint = "; this run has no window: give window_start and window_end" if not window else ""
        raise ConfigError(
            f"publisher {publisher}: {what}: the template cannot be rendered: {error}{hint}. Besides Airflow's own "
            f"names it may use publisher, partition, partitions, window_start, window_end, run_start and run_end."
        ) from error
    sql = str(rendered).strip().rstrip("; \n\t\r")
    if not sql:
        raise ConfigError(f"publisher {publisher}: {what}: the template comes out empty; nothing was asked")
    return sql


def _edges(publisher: str, name: str, window: Mapping[str, str] | None) -> dict[str, datetime]:
    return {f"{name}_{edge}": _moment(publisher, text) for edge, text in (window or {}).items()}


def _moment(publisher: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"publisher {publisher}: window: came {text!r}; must be a time such as 2017-01-01T00:00:00+00:00"
        ) from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def check_splits_itself(template: str, publisher: str, context: Context) -> None:
    """A template that is split without a partition key must do the splitting.

    Raises:
        ConfigError: it does not use ``partition``, so that every partition would give all rows.
    """
    from jinja2 import TemplateSyntaxError, meta

    try:
        used = meta.find_undeclared_variables(context["task"].get_template_env().parse(template))
    except TemplateSyntaxError:
        return  # render() explains it better
    if "partition" not in used:
        raise ConfigError(
            f"publisher {publisher}: audience: partitions > 1 needs partition_key, or SQL that uses "
            "{{ partition }} and {{ partitions }}, such as WHERE MOD(id, {{ partitions }}) = {{ partition }}; "
            "as it is every partition would give all rows"
        )


def narrowed(sql: str, key: str, partition: Partition) -> str:
    """The query limited to one range of an integer column of its result; NULL keys belong to the first partition."""
    low, high = partition["low"], partition["high"]
    limits = [f"{key} >= {low:d}"] if low is not None else []
    limits += [f"{key} < {high:d}"] if high is not None else []
    if not limits:
        return sql
    where = " AND ".join(limits)
    if partition["index"] == 0:
        where = f"({where}) OR {key} IS NULL"
    return f"SELECT * FROM (\n{sql}\n) audience WHERE {where}"


def checked_key(publisher: str, key: str) -> str:
    """A partition key that may stand in SQL.

    Raises:
        ConfigError: it is not a plain column name.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
        raise ConfigError(f"publisher {publisher}: audience.partition_key: {key!r} is not a plain column name")
    return key
