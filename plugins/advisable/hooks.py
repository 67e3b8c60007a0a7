"""The Airflow hook: a connection looked up when it is needed, and the client behind it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from include.publishers.senders import InteractionType

if TYPE_CHECKING:
    from advisable.client import Client
    from vendor_http.retry import Retry


class AdvisableHook(BaseHook):
    """Advisable.ai, as the connection says: interactions of five types, created, listed, deleted and transferred.

    Its methods are the client's; each raises what ``advisable.client`` says.

    Args:
        advisable_conn_id: the connection.
        retry: how patiently a request is tried again.
        requests_per_second: most requests a second; None: no limit.
    """

    conn_name_attr = "advisable_conn_id"
    default_conn_name = "advisable_default"
    conn_type = "advisable"
    hook_name = "Advisable.ai"

    def __init__(
        self,
        advisable_conn_id: str = default_conn_name,
        retry: "Retry | None" = None,
        requests_per_second: float | None = None,
    ) -> None:
        super().__init__()
        self.advisable_conn_id = advisable_conn_id
        self._retry = retry
        self._requests_per_second = requests_per_second
        self._client: Client | None = None

    @property
    def client(self) -> "Client":
        """The client; the connection is looked up at the first use."""
        if self._client is None:
            from advisable.client import Client
            from advisable.connections import advisable_settings

            settings = advisable_settings(self.get_connection(self.advisable_conn_id))
            self._client = Client(settings, self._retry, self._requests_per_second)
        return self._client

    def get_conn(self) -> "Client":
        """The client."""
        return self.client

    def create(self, kind: InteractionType, interaction: dict[str, Any]) -> None:
        """Add one interaction."""
        self.client.create(kind, interaction)

    def create_purchases(self, purchases: Sequence[dict[str, Any]]) -> None:
        """Add purchases by one request."""
        self.client.create_purchases(purchases)

    def list_by_user(self, user_id: str, kind: InteractionType) -> list[dict[str, Any]]:
        """The interactions of a user."""
        return self.client.list_by_user(user_id, kind)

    def list_by_item(self, item_id: str, kind: InteractionType) -> list[dict[str, Any]]:
        """The interactions with an item."""
        return self.client.list_by_item(item_id, kind)

    def delete(
        self,
        kind: InteractionType,
        *,
        item_id: str | None = None,
        user_id: str | None = None,
        timestamp: int | None = None,
        all: bool = False,  # noqa: A002 - the word that says it
    ) -> None:
        """Delete interactions; without anything that narrows it, only with ``all=True``, and then all of the type."""
        self.client.delete(kind, item_id=item_id, user_id=user_id, timestamp=timestamp, all=all)

    def transfer(self, from_user_id: str, to_user_id: str, *, delete_user: bool = True) -> None:
        """Move all interactions of a user to another one."""
        self.client.transfer(from_user_id, to_user_id, delete_user=delete_user)

    def change_external_id(self, user_id: str, external_id: str) -> None:
        """Give a user another id."""
        self.client.change_external_id(user_id, external_id)

    def test_connection(self) -> tuple[bool, str]:
        """One harmless request: reachable? credentials accepted? Never raises."""
        try:
            with self.client as client:
                return True, client.probe()
        except Exception as error:  # noqa: BLE001 - the button in the UI must get a sentence whatever happened
            return False, f"{error}" or type(error).__name__
