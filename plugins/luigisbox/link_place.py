"""A batch at a link: looked at by its headers, fetched as a file, judged by its times and its users."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from include.audience import user_sets
from include.errors import BadInput, NotReady
from include.publishers.batches import LinkBatch
from include.recommendations import batches, freshness
from include.recommendations.freshness import Seen
from include.staging import scratch
from luigisbox.connections import LinkAccess, is_http, link_access
from luigisbox.fetch import Fetched, fetch_batch
from luigisbox.result_link import Memory, Watch, look_once, public_link, resolve_link, watch
from luigisbox.triggers import BatchTrigger
from luigisbox.wait import Outcome, Wait, outcome_of, refuse_superseded
from vendor_http.errors import NotFound, TransientError, Unauthorized

if TYPE_CHECKING:
    from luigisbox.watching import Event

log = logging.getLogger(__name__)
KEPT_REFUSALS = 20


class LinkPlace:
    """The result link of a publisher.

    Raises:
        ConfigError: its connection cannot be used, or is of another host.
    """

    def __init__(self, settings: LinkBatch) -> None:
        self._settings = settings
        self._access = LinkAccess(store_connection=settings.connection)
        if settings.connection and is_http(settings.link):
            self._access = link_access(BaseHook.get_connection(settings.connection))
        self._url = resolve_link(settings.link, self._access)

    @property
    def shown(self) -> str:
        """The link without credentials and query."""
        return public_link(self._url)

    @property
    def dataset(self) -> tuple[str, str]:
        """Namespace and name for OpenLineage."""
        from luigisbox.lineage import link_dataset

        return link_dataset(self.shown)

    def look(self, wait: Wait) -> "Event":
        """Look at the headers and the beginning."""
        what = self._watch(wait)
        return asyncio.run(look_once(what, Memory(what)))

    def watch(self, wait: Wait) -> "Event":
        """Look until there is something worth fetching."""
        return asyncio.run(watch(self._watch(wait)))

    def trigger(self, wait: Wait) -> BatchTrigger:
        """The same in the triggerer."""
        return BatchTrigger(
            link=self._settings.link,
            connection_id=self._settings.connection,
            poll_seconds=self._settings.poll_seconds,
            not_before=freshness.not_before(wait.user_set, wait.since).isoformat(),
            deadline=wait.deadline,
            refused=list(wait.refused),
            reason=wait.reason,
            user_set=wait.user_set.name,
        )

    def _watch(self, wait: Wait) -> Watch:
        return Watch(
            url=self._url,
            not_before=freshness.not_before(wait.user_set, wait.since),
            deadline=wait.deadline,
            poll_seconds=self._settings.poll_seconds,
            refused=tuple(Seen.from_dict(seen) for seen in wait.refused),
            reason=wait.reason,
            access=self._access,
        )

    def examine(self, wait: Wait) -> Outcome | Wait:
        """Fetch what the link shows, parse and judge it.

        Returns:
            the fresh batch, accepted; or the wait as it goes on, with the reason.

        Raises:
            PermanentError: the link refuses the credentials, or points to another host.
            Superseded: the batch may be that of a newer list.
        """
        with scratch(batches.batches_folder(wait.root, wait.publisher.name)) as work:
            return self._examine(wait, work)

    def _examine(self, wait: Wait, work: Path) -> Outcome | Wait:
        place = (wait.root, wait.publisher.name)
        try:
            fetched = fetch_batch(self._url, self._access, place, work, self._settings.format, self._settings.max_bytes)
        except BadInput as error:
            return replace(wait, reason=str(error))
        except (TransientError, NotFound) as error:
            return replace(wait, reason=f"it could not be fetched: {error}")
        except Unauthorized as error:
            if error.status == 401:
                raise
            return replace(wait, reason=f"it could not be fetched: {error}")
        why = _why_not(wait, fetched)
        if why is None:
            return outcome_of(wait, fetched.folder, "fresh")
        batches.prune(*place)  # a wait must not pile up what it refuses
        return replace(wait, reason=why, refused=(*wait.refused, fetched.seen.as_dict())[-KEPT_REFUSALS:])


def _why_not(wait: Wait, fetched: Fetched) -> str | None:
    """Why a fetched batch cannot be used; None if it can, and then it is accepted."""
    from include.recommendations.parse import parse_batch

    publisher, batch = wait.publisher.name, fetched.folder
    try:
        parse_batch(batch, wait.publisher.batch, raw=fetched.raw)
    except NotReady as error:
        return f"the batch is not whole: {error}"
    except BadInput as error:
        return f"what the link shows is not a batch: {error}"
    previous = user_sets.previous(wait.user_set)
    latest, earlier = (
        batches.latest(wait.root, publisher),
        batches.judged_stale(wait.root, publisher, wait.user_set.name),
    )
    verdict = freshness.judge(batch, wait.user_set, previous, latest, wait.run, wait.since, earlier)
    if verdict.verdict != "fresh":
        return f"the batch is not fresh: {verdict.sentence}"
    if not verdict.evidence["taken_before"]:
        refuse_superseded(wait, verdict.evidence)
    log.info("batch %s is fresh: %s", batch.name[:12], verdict.sentence)
    batches.accept(wait.root, publisher, batch, wait.user_set.name, verdict, wait.run)
    return None
