"""The event trigger that notices scheduled e-mail campaigns of Klaviyo; no webhook tells of them, so it polls."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from newsletters.triggers import NewsletterTrigger

if TYPE_CHECKING:
    from include.newsletters import Newsletter
    from include.publishers.campaigns import Campaigns


class KlaviyoCampaignTrigger(NewsletterTrigger):
    """Announces campaigns that are scheduled to be sent to the publisher's lists or segments within the lead time."""

    async def scheduled(self, campaigns: "Campaigns") -> "list[Newsletter]":
        """The account's campaigns to be sent within the lead time, in the shape of the connection's revision."""
        from include.newsletters import Newsletter
        from klaviyo import look
        from klaviyo.connections import klaviyo_settings

        settings = klaviyo_settings(await BaseHook.aget_connection(campaigns.connection))
        until = datetime.now(UTC) + timedelta(hours=campaigns.lead_hours)
        return [
            Newsletter("klaviyo", each.id, each.name, each.send_at, each.included)
            for each in await look.campaigns(settings, until)
            if each.send_at
        ]
