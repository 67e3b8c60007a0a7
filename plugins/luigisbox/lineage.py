"""What OpenLineage is told: files that went in, the list or file at Luigi's Box that came out, with row counts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


def file_dataset(uri: str) -> tuple[str, str]:
    """Namespace and name of a staged file; in a store the bucket and the key, without the connection."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return "file", unquote(parts.path)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path.lstrip("/")


def link_dataset(link: str) -> tuple[str, str]:
    """Namespace and name of a result link."""
    parts = urlsplit(link)
    return f"{parts.scheme}://{parts.netloc}", parts.path or "/"


def operator_lineage(
    inputs: Sequence[tuple[str, str]], output: tuple[str, str], rows: int, size: int
) -> "OperatorLineage[Any, Any]":
    """One output made of some inputs.

    Args:
        inputs: (namespace, name) each.
        output: (namespace, name).
        rows: in the output.
        size: of the output, in bytes.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset, OutputStatisticsOutputDatasetFacet
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import OutputDataset

    statistics = OutputStatisticsOutputDatasetFacet(rowCount=rows, size=size)
    return OperatorLineage(
        inputs=[Dataset(namespace=namespace, name=name) for namespace, name in inputs],
        outputs=[OutputDataset(namespace=output[0], name=output[1], outputFacets={"outputStatistics": statistics})],
    )
