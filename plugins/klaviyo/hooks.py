"""The Airflow hook: a connection looked up when it is needed, and the client behind it."""

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

if TYPE_CHECKING:
    from klaviyo.client import Client
    from vendor_http.retry import Retry


class KlaviyoHook(BaseHook):
    """Klaviyo, as the connection says: paced, and tried again when that is safe."""

    conn_name_attr = "klaviyo_conn_id"
    default_conn_name = "klaviyo_default"
    conn_type = "klaviyo"
    hook_name = "Klaviyo"

    def __init__(self, klaviyo_conn_id: str = default_conn_name, retry: "Retry | None" = None) -> None:
        super().__init__()
        self.klaviyo_conn_id = klaviyo_conn_id
        self._retry = retry
        self._client: Client | None = None

    @property
    def client(self) -> "Client":
        """The client; the connection is looked up at the first use."""
        if self._client is None:
            from klaviyo.client import Client
            from klaviyo.connections import klaviyo_settings

            self._client = Client(klaviyo_settings(self.get_connection(self.klaviyo_conn_id)), self._retry)
        return self._client

    def get_conn(self) -> "Client":
        """The client."""
        return self.client

    def test_connection(self) -> tuple[bool, str]:
        """One harmless request: reachable? key, its rights and revision accepted? Never raises."""
        try:
            return True, self.client.probe()
        except Exception as error:  # noqa: BLE001 - the button in the UI must get a sentence whatever happened
            return False, f"{error}" or type(error).__name__
