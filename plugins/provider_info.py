"""What the installed distribution tells Airflow: connection types with their forms, and the button on the wait."""

from typing import Any

_TEXT = ["string", "null"]
_SECONDS = {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 86400}


def _field(label: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"label": label, "schema": schema, "description": description}


_ACCESS_FIELDS = {
    "connect_seconds": _field("Connect time limit", _SECONDS, "Seconds to wait for a connection; 5 if empty."),
    "read_seconds": _field("Read time limit", _SECONDS, "Seconds to wait for the next bytes; 120 if empty."),
    "verify": _field(
        "TLS verification", {"type": _TEXT}, "true (also if empty), false, or the path of a file with CA certificates."
    ),
}


def get_provider_info() -> dict[str, Any]:
    """Airflow's entry point ``apache_airflow_provider``."""
    return {
        "package-name": "luigisbox-newsletter-airflow",
        "name": "Luigi's Box newsletter recommendations",
        "description": "Audiences to Luigi's Box, recommendation batches back.",
        "connection-types": [
            {
                "connection-type": "luigisbox",
                "hook-class-name": "luigisbox.hooks.LuigisBoxHook",
                "hook-name": "Luigi's Box",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {"login": "Tracker id", "password": "Private key"},
                    "placeholders": {"host": "https://live.luigisbox.com", "login": "1234-5678"},
                },
                "conn-fields": {
                    "public_key": _field("Public key", {"type": _TEXT}, "Only if it is not the tracker id."),
                    "upload_seconds": _field(
                        "Upload time limit", _SECONDS, "Seconds in which an upload must arrive; 600 if empty."
                    ),
                    **_ACCESS_FIELDS,
                },
            },
            {
                "connection-type": "luigisbox_batch",
                "hook-class-name": "luigisbox.hooks.BatchLinkHook",
                "hook-name": "Luigi's Box result link",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {"password": "Password, or bearer token if there is no login"},
                    "placeholders": {"host": "https://example.com"},
                },
                "conn-fields": {
                    "headers": _field(
                        "Headers",
                        {"type": _TEXT, "format": "password"},
                        'A JSON object, if the link is opened by a header: {"X-Key": "…"}',
                    ),
                    **_ACCESS_FIELDS,
                },
            },
            {
                "connection-type": "klaviyo",
                "hook-class-name": "klaviyo.hooks.KlaviyoHook",
                "hook-name": "Klaviyo",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login"],
                    "relabeling": {"password": "Private API key"},
                    "placeholders": {"host": "https://a.klaviyo.com"},
                },
                "conn-fields": {
                    "revision": _field(
                        "API revision", {"type": _TEXT}, "A date such as 2026-07-15, which it also is if empty."
                    ),
                    **_ACCESS_FIELDS,
                },
            },
            {
                "connection-type": "smartemailing",
                "hook-class-name": "smartemailing.hooks.SmartEmailingHook",
                "hook-name": "SmartEmailing",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {"login": "User name", "password": "API key"},
                    "placeholders": {"host": "https://app.smartemailing.cz"},
                },
                "conn-fields": {
                    "pause_seconds": _field("Pause", _SECONDS, "Seconds between two requests; 0.2 if empty."),
                    "time_zone": _field(
                        "Time zone", {"type": _TEXT}, "Of the times in SmartEmailing's answers; UTC if empty."
                    ),
                    **_ACCESS_FIELDS,
                },
            },
            {
                "connection-type": "advisable",
                "hook-class-name": "advisable.hooks.AdvisableHook",
                "hook-name": "Advisable.ai",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {"host": "Base URL", "login": "App id", "password": "App secret"},
                    "placeholders": {"host": "https://api.example.com"},
                },
                "conn-fields": {
                    "app_id_header": _field("App id header", {"type": _TEXT}, "Name of the header; app-id if empty."),
                    "app_secret_header": _field(
                        "App secret header", {"type": _TEXT}, "Name of the header; app-secret if empty."
                    ),
                    "batch_size": _field(
                        "Batch size",
                        {"type": ["integer", "null"], "minimum": 1, "maximum": 999999},
                        "Purchases in one request; 1000 if empty.",
                    ),
                    "paths": _field(
                        "Path names",
                        {"type": _TEXT},
                        'A JSON object, for types whose path is not the usual one: {"cart_addition": "cart-additions"}',
                    ),
                    "transfer_method": _field(
                        "Method of transfers", {"type": _TEXT}, "POST (also if empty), PUT or PATCH."
                    ),
                    **_ACCESS_FIELDS,
                },
            },
        ],
        "extra-links": ["luigisbox.extra_links.ResultLink"],
    }
