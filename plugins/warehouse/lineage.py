"""What the pulls tell OpenLineage: the tables a query reads, where its rows lie now, and how many there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from luigisbox.lineage import file_dataset
from warehouse.cursor import warehouse_hook

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from warehouse.pull import Query


def of_pull(query: Query | None, staged: Path, rows: int) -> OperatorLineage[Any, Any]:
    """Lineage of one staged part. The tables are known only when the connection's hook says how they are called."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    size = staged.stat().st_size
    facet = statistics.OutputStatisticsOutputDatasetFacet(rowCount=rows, size=size, fileCount=1)
    namespace, name = file_dataset(staged.as_uri())
    output: Any = OutputDataset(namespace=namespace, name=name, outputFacets={"outputStatistics": facet})
    return OperatorLineage(inputs=_tables(query) if query else [], outputs=[output])


def _tables(query: Query) -> list[Any]:
    from airflow.providers.openlineage.sqlparser import SQLParser

    hook = warehouse_hook(query.connection)
    database = hook.get_openlineage_database_info(hook.connection)
    if database is None:
        return []
    parser = SQLParser(hook.get_openlineage_database_dialect(hook.connection), hook.get_openlineage_default_schema())
    return list(parser.generate_openlineage_metadata_from_sql(query.sql, hook, database, use_connection=False).inputs)
