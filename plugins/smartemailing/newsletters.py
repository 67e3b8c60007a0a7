"""The event trigger that notices newsletters of SmartEmailing before they are sent, where its statistics list them.

The webhooks of SmartEmailing tell that sending has started or finished: too late for that newsletter. Whom a
newsletter goes to is not told, so every newsletter of the account counts.
"""

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from newsletters.triggers import NewsletterTrigger

if TYPE_CHECKING:
    from include.newsletters import Newsletter
    from include.publishers.campaigns import Campaigns


class SmartEmailingNewsletterTrigger(NewsletterTrigger):
    """Announces newsletters of the account whose start lies ahead, within the lead time."""

    async def scheduled(self, campaigns: "Campaigns") -> "list[Newsletter]":
        """The newsletters of the account that have a start and no end."""
        from include.newsletters import Newsletter
        from smartemailing import look
        from smartemailing.connections import smartemailing_settings

        settings = smartemailing_settings(await BaseHook.aget_connection(campaigns.connection))
        return [
            Newsletter("smartemailing", str(each.id), each.name, each.start)
            for each in await look.newsletters(settings)
            if each.start and not each.finish
        ]
