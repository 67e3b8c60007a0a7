"""The operators that bring rows from the warehouse to the staging store: audiences, and past purchases.

Thin: the query is made in ``warehouse.queries``, read in ``warehouse.cursor``, written by ``include.extract``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from airflow.sdk import BaseOperator

from include.errors import ConfigError
from include.publishers.audiences import WarehouseAudience
from include.publishers.config import load_publisher, warehouse_audience
from include.publishers.senders import TRANSACTION_COLUMNS, Transactions, raw_columns
from include.staging import to_path
from warehouse.pull import Columns, Query, pull_file, pull_query
from warehouse.queries import WHOLE, Partition, check_splits_itself, checked_key, narrowed, render, sql_text
from warehouse.source import pull_source, source_query, widened

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from include.extract import Record


class Pulled(TypedDict):
    """What a pull returns: the run folder, number of the part, rows staged in it, rows that cannot be text."""

    uri: str
    part: int
    rows: int
    refused: int


class _PullOperator(BaseOperator):
    """What both pulls share: parameters, result, lineage."""

    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", "window": "json", "partition": "json"}
    ui_color = "#dbe9f6"

    def __init__(
        self, *, publisher: str, run_folder: str, window: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.publisher = publisher
        self.run_folder = run_folder
        self.window = window
        self._query: Query | None = None
        self._pulled: Pulled | None = None

    def _done(self, record: Record, part: int) -> Pulled:
        self._pulled = {
            "uri": self.run_folder,
            "part": part,
            "rows": record["rows"],
            "refused": record["refused"],
        }
        return self._pulled

    def _run(self) -> Path:
        return to_path(self.run_folder)

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Input tables if the connection's hook names them, the staged part, its rows."""
        if self._pulled is None:
            return None
        from warehouse.lineage import of_pull

        part = self._run() / "raw" / f"part-{self._pulled['part']:05d}.parquet"
        return of_pull(self._query, part, self._pulled["rows"])


class PullAudienceOperator(_PullOperator):
    """Stream one partition of the audience into ``{run_folder}/raw``; a retry replaces the same part.

    Columns: ``auth_user_id``, and ``recipient`` if the platform has a key of its own; the partition key may come too
    and is not staged. ``sql`` is a template of its own, that knows the run's parameters and the names of
    ``warehouse.queries.render``, nothing else of Airflow's.

    Args:
        publisher: name of the publisher file (templated).
        run_folder: URI of ``{publisher}/audience/{run}`` (templated).
        window: ``start`` and ``end`` in ISO-8601 (templated); None if the query needs none.
        partition: one item of ``plan_partitions`` (mapped); None is the whole audience.
        sql: SQL text or file name instead of the publisher's (templated); None or empty: the publisher's.
        file: URI of a list in a file instead of a query (templated); None or empty: a query.

    Returns:
        ``uri`` of the run folder, ``part``, ``rows`` staged, ``refused`` rows that cannot be text.
    """

    template_fields = ("publisher", "run_folder", "window", "partition", "sql", "file")

    def __init__(
        self,
        *,
        partition: Partition | None = None,
        sql: str | None = None,
        file: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.partition = partition
        self.sql = sql
        self.file = file

    def execute(self, context: Context) -> Pulled:
        """Pull.

        Raises:
            ConfigError: query, connection or partitioning are not set up rightly.
            BadInput: the columns are not those wanted.
        """
        part = self.partition or WHOLE
        if self.file:
            columns = Columns(["auth_user_id"], ["recipient"])
            return self._done(pull_file(self._list(part), columns, self._run()), 0)
        settings = warehouse_audience(load_publisher(self.publisher))
        ignore = [settings.partition_key] if settings.partition_key else []
        columns = Columns(["auth_user_id"], ["recipient"], ignore)
        self._query = self._narrowed_query(settings, part, context)
        return self._done(pull_query(self._query, columns, self._run(), part["index"]), part["index"])

    def _list(self, part: Partition) -> Path:
        if part["of"] > 1 or self.sql:
            raise ConfigError(
                f"publisher {self.publisher}: an audience list in a file is one partition and goes without SQL; "
                f"came partition {part['index']} of {part['of']}{', and SQL' if self.sql else ''}"
            )
        return to_path(self.file or "")

    def _narrowed_query(self, settings: WarehouseAudience, part: Partition, context: Context) -> Query:
        template = sql_text(self.sql or settings.sql)
        limited = part["low"] is not None or part["high"] is not None
        if part["of"] > 1 and not limited:
            check_splits_itself(template, self.publisher, context)
        sql = render(template, context, self.publisher, self.window, part, of_the_run=bool(self.sql))
        if limited:
            sql = narrowed(sql, checked_key(self.publisher, settings.partition_key or ""), part)
        return Query(self.publisher, settings.connection, sql, settings.batch_rows)


class PullTransactionsOperator(_PullOperator):
    """Stage the purchases of one window, or of files, in ``{run_folder}/raw``; a retry replaces the same part.

    Columns: ``session_id``, ``identity``, if there ``user_id``, ``created_at`` and ``quantity``, and those that
    ``keep`` and ``drop`` look at; one row a bought product. Where sessions belong to the window of their first
    purchase, the query is asked for more before and after the window (``warehouse.source.widened``); which sessions
    belong to the run is decided when the files are built.

    Args:
        publisher: name of the publisher file (templated).
        run_folder: URI of ``{publisher}/transactions/{run}`` (templated).
        window: ``start`` and ``end`` in ISO-8601 (templated); None: the run has none.
        files: URI of a file, or of many with ``*`` and ``?``, instead of what the publisher file says (templated); None
            or empty: as the publisher file says.

    Returns:
        ``uri`` of the run folder, ``part``, ``rows`` staged, ``refused`` rows that cannot be read or cannot be text.
    """

    template_fields = ("publisher", "run_folder", "window", "files")

    def __init__(self, *, files: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.files = files

    def execute(self, context: Context) -> Pulled:
        """Pull.

        Raises:
            ConfigError: the publisher sends no purchases, or query, connection or files are not set up rightly.
            BadInput: a column is missing, or a file cannot be read.
        """
        settings = self._settings()
        window = self.window or None
        wide = window
        if window and settings.sessions == "first_purchase":
            wide = widened(window, settings.session_hours, settings.time_zone)
        if settings.sql and not self.files:
            self._query = source_query(settings, context, self.publisher, wide, window)
        columns, names = transaction_columns(settings)
        run, files = self._run(), self.files or None
        record = pull_source(
            settings,
            columns,
            run,
            context,
            self.publisher,
            wide,
            names=names,
            files=files,
            run_window=window,
            query=self._query,
        )
        return self._done(record, 0)

    def _settings(self) -> Transactions:
        settings = load_publisher(self.publisher).past_transactions
        if settings is None:
            raise ConfigError(f"publisher {self.publisher}: its file has no past_transactions; nothing can be pulled")
        return settings


def transaction_columns(settings: Transactions) -> tuple[Columns, dict[str, str]]:
    """What is staged of past purchases, and how those columns are called in the source."""
    required, optional, names = raw_columns(settings)
    return Columns(required, optional, order=TRANSACTION_COLUMNS), dict(names)
