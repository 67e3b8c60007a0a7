"""A batch that Luigi's Box itself writes into Klaviyo's profiles: waited for by a sample, read as a whole.

What is read is staged page by page with its cursor. A read that was killed, or ran into a long pause, is gone on with
as long as the sample carries what it carried when the read began; after a verdict the pages are removed.
"""

import asyncio
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from include.errors import BadInput, ConfigError, NotReady
from include.publishers.audiences import KlaviyoAudience
from include.publishers.batches import KlaviyoBatch
from include.recommendations import batches, platform_batch
from include.recommendations.layout import FETCH
from include.recommendations.platform import Carried
from include.staging import read_json, remove_folder, scratch, to_path, utc_text
from klaviyo.batch_look import Look, SampleMemory, load_sample, look_once, stage_sample, state_of, watch
from klaviyo.batch_read import default_of, read_profiles, reading_folder, sources_taken
from klaviyo.batch_trigger import KlaviyoBatchTrigger
from klaviyo.client import Client
from klaviyo.connections import Settings, klaviyo_settings
from luigisbox.wait import Outcome, Wait, outcome_of, refuse_superseded
from vendor_http.errors import TransientError
from vendor_http.retry import Retry

if TYPE_CHECKING:
    from luigisbox.watching import Event

log = logging.getLogger(__name__)
REST = 2.0
"""After a batch that was read and refused, the next look comes only after so many times as long as reading it took."""


class KlaviyoPlace:
    """The profiles of an account.

    Raises:
        ConfigError: the connection cannot be used.
    """

    def __init__(self, settings: KlaviyoBatch, retry: Retry | None = None) -> None:
        self._settings = settings
        self._retry = retry
        self._account: Settings = klaviyo_settings(BaseHook.get_connection(settings.connection))

    @property
    def shown(self) -> str:
        """Host and properties."""
        return f"{self._account.base_url} properties {', '.join(sorted(self._settings.recommendation_types))}"

    @property
    def dataset(self) -> tuple[str, str]:
        """Namespace and name for OpenLineage."""
        return self._account.base_url, "profiles"

    def look(self, wait: Wait) -> "Outcome | Event":
        """Look at the sample; what was accepted for this list before is good enough if nothing newer is there."""
        taken = self._taken(wait)
        if taken and taken["run"] == wait.run:
            return outcome_of(wait, to_path(taken["uri"]), "fresh")
        what = self._what(wait)
        event = asyncio.run(look_once(what, SampleMemory()))
        if taken and event["status"] == "waiting":
            return outcome_of(wait, to_path(taken["uri"]), "fresh")
        return event

    def watch(self, wait: Wait) -> "Event":
        """Look until the sample carries enough new recommendations."""
        return asyncio.run(watch(self._what(wait), wait.deadline, wait.reason))

    def trigger(self, wait: Wait) -> KlaviyoBatchTrigger:
        """The same in the triggerer."""
        return KlaviyoBatchTrigger(
            connection_id=self._settings.connection,
            types=sorted(self._settings.recommendation_types),
            sample=self._stage_sample(wait).as_uri(),
            fresh_percent=self._settings.fresh_percent,
            poll_seconds=self._settings.poll_seconds,
            deadline=wait.deadline,
            refused=list(wait.refused),
            reason=wait.reason,
            user_set=wait.user_set.name,
        )

    def examine(self, wait: Wait) -> Outcome | Wait:
        """Read the whole audience, parse and judge it.

        Returns:
            the fresh batch, accepted; or the wait as it goes on, with the reason.

        Raises:
            ConfigError: the audience does not lie in Klaviyo.
            PermanentError: the key is refused, or may not read profiles.
            Superseded: the batch may be that of a newer list.
        """
        from include.recommendations.parse import parse_batch

        started = time.time()
        try:
            staged, default, record = self._read(wait)
            whose = (wait.root, wait.publisher.name)
            with scratch(batches.batches_folder(*whose)) as work:
                batch, raw = platform_batch.write_batch(whose, work, staged, wait.user_set, default, record)
                parse_batch(batch, self._settings, raw=raw)
        except TransientError as error:  # what came stays, to be gone on with
            return self._later(wait, f"the profiles could not be read: {error}", started)
        except (NotReady, BadInput) as error:
            self._forget_pages(wait)
            return self._later(wait, f"the profiles hold no whole batch: {error}", started)
        _warn_of_missing(wait, read_json(batch / FETCH)["profiles"]["missing"])
        outcome = self._judge(wait, batch, started)
        self._forget_pages(wait)
        return outcome

    def _judge(self, wait: Wait, batch: Path, started: float) -> Outcome | Wait:
        latest, taken = batches.latest(wait.root, wait.publisher.name), self._taken(wait)
        sample = load_sample(self._stage_sample(wait))
        verdict = platform_batch.judge(batch, wait.user_set, latest, sample, self._settings.fresh_percent)
        if verdict.verdict == "fresh":
            refuse_superseded(wait, verdict.evidence)
            log.info("batch %s is fresh: %s", batch.name[:12], verdict.sentence)
            batches.accept(wait.root, wait.publisher.name, batch, wait.user_set.name, verdict, wait.run)
            return outcome_of(wait, batch, "fresh")
        if taken:
            return outcome_of(wait, to_path(taken["uri"]), "fresh")
        batches.prune(wait.root, wait.publisher.name)  # a wait must not pile up what it refuses
        return self._later(wait, f"the batch is not fresh: {verdict.sentence}", started)

    def _later(self, wait: Wait, reason: str, started: float) -> Wait:
        now = time.time()
        return replace(wait, reason=reason, refused=({"again_at": now + REST * (now - started)},))

    def _taken(self, wait: Wait) -> dict[str, Any] | None:
        """The batch accepted last, if that was for this list and is not too old for this run."""
        latest = batches.latest(wait.root, wait.publisher.name)
        if latest is None or latest["user_set"] != wait.user_set.name:
            return None
        return latest if wait.since is None or latest["run"] == wait.run else None

    def _stage_sample(self, wait: Wait) -> Path:
        with Client(self._account, self._retry) as client:
            return stage_sample(wait, client, self._settings)

    def _what(self, wait: Wait) -> Look:
        return Look(
            account=self._account,
            types=tuple(self._settings.recommendation_types),
            sample=load_sample(self._stage_sample(wait)),
            fresh_percent=self._settings.fresh_percent,
            poll_seconds=self._settings.poll_seconds,
            again_at=wait.refused[-1]["again_at"] if wait.refused else 0.0,
            reason=wait.reason,
        )

    def _read(self, wait: Wait) -> tuple[list[str], Carried | None, dict[str, Any]]:
        """Read all sources of the audience, and the profile of the default set: staged pages, that set, the record."""
        audience, started = _audience(wait), utc_text(datetime.now(UTC))
        types = tuple(self._settings.recommendation_types)
        with Client(self._account, self._retry) as client:
            state = asyncio.run(state_of(self._what(wait)))
            staged = read_profiles(client, audience, types, state, self._reading(wait))
            default = default_of(client, types)
        record = {
            "url": self.shown,
            "sources": [each["source"] for each in sources_taken(audience)],
            "started_at": started,
            "finished_at": utc_text(datetime.now(UTC)),
        }
        return staged, default, record

    def _reading(self, wait: Wait) -> Path:
        return reading_folder(wait.root, wait.publisher.name, wait.run)

    def _forget_pages(self, wait: Wait) -> None:
        remove_folder(self._reading(wait))


def _audience(wait: Wait) -> KlaviyoAudience:
    if not isinstance(wait.publisher.audience, KlaviyoAudience):
        raise ConfigError("batch.from klaviyo needs an audience of kind klaviyo")
    return wait.publisher.audience


def _warn_of_missing(wait: Wait, missing: int) -> None:
    """All that Klaviyo counts was read, but the list may be older."""
    listed, tolerance_percent = wait.user_set.record["rows"], _audience(wait).tolerance_percent
    if 100 * missing > tolerance_percent * listed:
        log.warning(
            "%s of %s profiles of the accepted list are not among those read, more than %g %%: they may have left "
            "the lists and segments since, or have no profile id as recipient. They count as without recommendations.",
            f"{missing:,}",
            f"{listed:,}",
            tolerance_percent,
        )
