"""The Airflow hook: a connection looked up when it is needed, and the client behind it."""

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

if TYPE_CHECKING:
    from smartemailing.client import Client
    from vendor_http.retry import Retry


class SmartEmailingHook(BaseHook):
    """SmartEmailing, as the connection says: pages of contacts, imports, one request at a time."""

    conn_name_attr = "smartemailing_conn_id"
    default_conn_name = "smartemailing_default"
    conn_type = "smartemailing"
    hook_name = "SmartEmailing"

    def __init__(self, smartemailing_conn_id: str = default_conn_name, retry: "Retry | None" = None) -> None:
        super().__init__()
        self.smartemailing_conn_id = smartemailing_conn_id
        self._retry = retry
        self._client: Client | None = None

    @property
    def client(self) -> "Client":
        """The client; the connection is looked up at the first use."""
        if self._client is None:
            from smartemailing.client import Client
            from smartemailing.connections import smartemailing_settings

            settings = smartemailing_settings(self.get_connection(self.smartemailing_conn_id))
            self._client = Client(settings, self._retry)
        return self._client

    def get_conn(self) -> "Client":
        """The client."""
        return self.client

    def test_connection(self) -> tuple[bool, str]:
        """Is it there, and does it take the key? Never raises."""
        try:
            with self.client as client:
                return True, client.probe()
        except Exception as error:  # noqa: BLE001 - the button in the UI must get a sentence whatever happened
            return False, f"{error}" or type(error).__name__
