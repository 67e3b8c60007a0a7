"""The button on a task in Airflow's UI, which shows links of http and https only.

The link is what the operator holds at the end of each stretch of its work (before it defers, and after it resumed), so
it is there while the task waits. Airflow stores it as an XCom and reads it from there.
"""

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


class ResultLink(BaseOperatorLink):
    """Where the batch is expected; without credentials and query."""

    name = "Result link"

    def get_link(self, operator: "BaseOperator", *, ti_key: Any) -> str:  # noqa: ARG002
        """The link, or nothing before it is known."""
        return getattr(operator, "result_link", None) or ""
