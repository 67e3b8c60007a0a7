"""An example of a delivery of one's own: a callable that gets every part of a batch as a pandas DataFrame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

MOST = 20


def count_products(frame: pd.DataFrame, context: dict[str, Any]) -> int:
    """Write the most recommended products of one part as CSV: item_id, title, recipients.

    A merchandiser's question: which products will this newsletter show most? The file of a part is replaced when the
    part is delivered again.

    Args:
        frame: one recommended product a row, columns as in the warehouse delivery's table.
        context: ``out``, the folder of this delivery, and ``part``, the number of the part.

    Returns:
        products written, at most 20.
    """
    products = frame.groupby("item_id", sort=False).agg(title=("title", "first"), recipients=("recipient", "nunique"))
    top = products.reset_index().sort_values(["recipients", "item_id"], ascending=[False, True]).head(MOST)
    path = Path(context["out"]) / f"most-recommended-{int(context['part']):03d}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    top.to_csv(path, index=False)
    return len(top)
