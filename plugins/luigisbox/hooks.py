"""The Airflow hooks: a connection looked up when it is needed, and the client behind it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

if TYPE_CHECKING:
    from luigisbox.client import Client, Receipt
    from luigisbox.pins import PinClient, Scope, Strategy
    from vendor_http.retry import Retry


class LuigisBoxHook(BaseHook):
    """Luigi's Box, as the connection says: signed uploads, streamed, tried again when that is safe."""

    conn_name_attr = "luigisbox_conn_id"
    default_conn_name = "luigisbox_default"
    conn_type = "luigisbox"
    hook_name = "Luigi's Box"

    def __init__(self, luigisbox_conn_id: str = default_conn_name, retry: "Retry | None" = None) -> None:
        super().__init__()
        self.luigisbox_conn_id = luigisbox_conn_id
        self._retry = retry
        self._client: Client | None = None
        self._pins: PinClient | None = None

    @property
    def client(self) -> "Client":
        """The client; the connection is looked up at the first use."""
        if self._client is None:
            from luigisbox.client import Client
            from luigisbox.connections import tracker_settings

            settings = tracker_settings(self.get_connection(self.luigisbox_conn_id))
            self._client = Client(replace(settings, connection=self.luigisbox_conn_id), self._retry)
        return self._client

    @property
    def pins(self) -> "PinClient":
        """The client of pin customizations, with the same settings."""
        if self._pins is None:
            from luigisbox.pins import PinClient

            self._pins = PinClient(self.client.settings, self._retry)
        return self._pins

    def get_conn(self) -> "Client":
        """The client."""
        return self.client

    def upload_users(self, files: Sequence[Path], manifest: dict[str, Any]) -> "Receipt":
        """Replace the list of users; see ``Client.upload_users``."""
        return self.client.upload_users(files, manifest)

    def upload_transactions(self, file: Path, chunk: dict[str, Any]) -> "Receipt":
        """Add one file of past transactions; see ``Client.upload_transactions``."""
        return self.client.upload_transactions(file, chunk)

    def create_scope(self, scope: "Scope") -> dict[str, Any]:
        """Create one pin customization; see ``PinClient.create``."""
        return self.pins.create(scope)

    def replace_scope(self, number: str, scope: "Scope") -> dict[str, Any]:
        """Replace the pin customization with this id; see ``PinClient.replace``."""
        return self.pins.replace(number, scope)

    def delete_scope(self, number: str) -> None:
        """Delete the pin customization with this id; see ``PinClient.delete``."""
        self.pins.delete(number)

    def list_scopes(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """All pin customizations that fit, page by page; see ``PinClient.list``."""
        return self.pins.list(**filters)

    def export_scopes(self, **filters: Any) -> Sequence[dict[str, Any]]:
        """All pin customizations that fit, in one answer; see ``PinClient.export``."""
        return self.pins.export(**filters)

    def send_scopes(self, lines: bytes, conflict_strategy: "Strategy") -> None:
        """Create many pin customizations, one a line; see ``PinClient.bulk``."""
        self.pins.bulk(lines, conflict_strategy)

    def test_connection(self) -> tuple[bool, str]:
        """One harmless signed request: reachable? key accepted? clock skew? Never raises."""
        try:
            return True, self.client.probe()
        except Exception as error:  # noqa: BLE001 - the button in the UI must get a sentence whatever happened
            return False, f"{error}" or type(error).__name__


class BatchLinkHook(BaseHook):
    """The host of a result link, and what opens it."""

    conn_name_attr = "batch_conn_id"
    default_conn_name = "luigisbox_batch_default"
    conn_type = "luigisbox_batch"
    hook_name = "Luigi's Box result link"

    def __init__(self, batch_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.batch_conn_id = batch_conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Is the host reachable? The link itself is in the publisher file. Never raises."""
        from luigisbox.connections import link_access
        from vendor_http.session import VendorSession

        try:
            access = link_access(self.get_connection(self.batch_conn_id))
            if not access.base_url:
                return False, "the connection names no host"
            with VendorSession(access.timeouts, access.verify) as session:
                status = session.head(access.base_url + "/", allow_redirects=False).status_code
        except Exception as error:  # noqa: BLE001 - the button in the UI must get a sentence whatever happened
            return False, f"{error}" or type(error).__name__
        return True, f"{access.base_url} is reachable (HEAD / answered {status}); the link itself was not tried"
