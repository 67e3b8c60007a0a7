"""Cutting one audience query into the ranges that mapped tasks pull side by side."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from include.errors import ConfigError
from include.publishers.config import load_publisher, warehouse_audience
from warehouse.cursor import stream, warehouse_hook
from warehouse.queries import WHOLE, Partition, check_splits_itself, checked_key, render, sql_text

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


def plan_partitions(
    publisher: str, window: Mapping[str, str] | None = None, context: Context | None = None
) -> list[Partition]:
    """The partitions of a publisher's own audience query, as many mapped pulls.

    With ``partition_key`` the database is asked once for the key's least and greatest value; the span between is
    cut evenly. The first range is open below and the last one above, so rows that come in afterwards are not lost.
    Fewer ranges than ``partitions`` come out when the keys are fewer.

    Args:
        publisher: its name.
        window: the run's window, ``start`` and ``end`` in ISO-8601, if it has one.
        context: Airflow's context; by default that of the running task.

    Raises:
        ConfigError: the key is not a column of the query or not an integer, or the query can not be split.
    """
    settings = warehouse_audience(load_publisher(publisher))
    if settings.partitions == 1:
        return [WHOLE]
    if context is None:
        from airflow.sdk import get_current_context

        context = get_current_context()
    template = sql_text(settings.sql)
    if not settings.partition_key:
        check_splits_itself(template, publisher, context)
        return [
            {"index": index, "of": settings.partitions, "low": None, "high": None}
            for index in range(settings.partitions)
        ]
    key = checked_key(publisher, settings.partition_key)
    sql = render(template, context, publisher, window)
    least, greatest = _extremes(publisher, settings.connection, sql, key)
    partitions = ranges(least, greatest, settings.partitions)
    log.info("%s: the range of %s is cut into %d partitions", publisher, key, len(partitions))
    return partitions


def ranges(least: int | None, greatest: int | None, wanted: int) -> list[Partition]:
    """At most ``wanted`` ranges of equal width that cover every integer; one when there are no keys at all."""
    if least is None or greatest is None:
        return [WHOLE]
    span = greatest - least + 1
    count = min(wanted, span)
    cuts = [least + span * index // count for index in range(1, count)]
    return [
        {"index": index, "of": count, "low": low, "high": high}
        for index, (low, high) in enumerate(zip([None, *cuts], [*cuts, None], strict=True))
    ]


def _extremes(publisher: str, connection: str, sql: str, key: str) -> tuple[int | None, int | None]:
    hook = warehouse_hook(connection)
    with stream(hook, f"SELECT * FROM (\n{sql}\n) audience WHERE 1 = 0", 1) as result:
        columns = result.columns
    if key.casefold() not in {column.casefold() for column in columns}:
        raise ConfigError(
            f"publisher {publisher}: audience.partition_key: the query has no column {key}; "
            f"found {', '.join(columns)}. Add it to the SELECT (it is not staged), or set partitions: 1"
        )
    with stream(hook, f"SELECT MIN({key}), MAX({key}) FROM (\n{sql}\n) audience", 1) as result:
        row = next(result.batches)[0]
    return _integer(publisher, key, row[0]), _integer(publisher, key, row[1])


def _integer(publisher: str, key: str, value: Any) -> int | None:
    """An integer, also when the driver gives it as a whole decimal."""
    if value is None:
        return None
    if not isinstance(value, bool | float | str | bytes):
        try:
            if int(value) == value:
                return int(value)
        except (TypeError, ValueError, OverflowError):
            pass
    raise ConfigError(
        f"publisher {publisher}: audience.partition_key: {key} must be an integer column, its values are of type "
        f"{type(value).__name__}; name an integer column, or use {{{{ partition }}}} in the SQL instead"
    )
