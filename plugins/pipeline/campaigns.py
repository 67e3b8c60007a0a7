"""The asset whose watcher notices newsletters, and the runs of the DAG ``campaign`` that they start."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Asset, AssetWatcher, get_current_context, task

from klaviyo.campaign_trigger import KlaviyoCampaignTrigger
from luigisbox.assets import GROUP
from newsletters.triggers import NEWSLETTERS, NewsletterTrigger
from smartemailing.newsletters import SmartEmailingNewsletterTrigger

log = logging.getLogger(__name__)

TRIGGERS: dict[str, type[NewsletterTrigger]] = {
    "klaviyo": KlaviyoCampaignTrigger,
    "smartemailing": SmartEmailingNewsletterTrigger,
}


def watched_newsletters(publisher: str, kind: str) -> Asset:
    """The newsletters of a publisher, watched on its platform; each event tells of one that is due."""
    watcher = AssetWatcher(name=f"{kind}_{publisher}", trigger=TRIGGERS[kind](publisher))
    return Asset(
        name=f"newsletters_{publisher}",
        uri=f"x-luigisbox://{publisher}/newsletters",
        group=GROUP,
        watchers=[watcher],
    )


@task
def newsletters(publisher: str) -> list[dict[str, Any]]:
    """The runs that this run's events ask for, one each."""
    events = get_current_context()["triggering_asset_events"]
    extras = [event.extra for each in events.values() for event in each]
    return runs_of(publisher, extras, datetime.now(UTC))


def runs_of(publisher: str, extras: list[Mapping[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """``trigger_run_id`` and ``conf`` of each newsletter that events tell of, each once.

    A newsletter that was sent meanwhile is left out with an error in the log; so is an event that tells of none.

    Args:
        publisher: whose newsletters they are.
        extras: of the events.
        now: the moment it is.
    """
    from include.errors import BadInput
    from include.newsletters import announced

    runs: dict[str, dict[str, Any]] = {}
    for told in (each for extra in extras for each in _announcements(extra.get("payload"))):
        try:
            newsletter = announced(publisher, told)
        except BadInput as error:
            log.error("left out: %s", error)  # noqa: TRY400
            continue
        send_at = newsletter.send_at.astimezone(UTC).isoformat()
        if newsletter.send_at <= now:
            log.error("left out: newsletter %s was to be sent at %s, which is past", newsletter.id, send_at)
            continue
        conf = {"publisher": publisher, "send_at": send_at, "newsletter": f"{newsletter.name} ({newsletter.id})"}
        run_id = newsletter.run_id(publisher)
        runs[run_id] = {"trigger_run_id": run_id, "conf": conf}
    return list(runs.values())


def _announcements(payload: Any) -> list[Any]:
    found = payload.get(NEWSLETTERS) if isinstance(payload, Mapping) else None
    return found if isinstance(found, list) else [payload]
