"""The wait of every publisher, whatever its batch comes from: a link, or Klaviyo's profiles."""

from typing import TYPE_CHECKING

from luigisbox.operators import WaitForBatchOperator

if TYPE_CHECKING:
    from include.publishers.models import Publisher
    from luigisbox.wait import Place


class WaitOperator(WaitForBatchOperator):
    """As ``WaitForBatchOperator``, for ``batch.from: klaviyo`` too."""

    def place(self, publisher: "Publisher") -> "Place":
        """Where the batch is waited for."""
        if publisher.batch.source != "klaviyo":
            return super().place(publisher)
        from klaviyo.batch import KlaviyoPlace

        return KlaviyoPlace(publisher.batch)
