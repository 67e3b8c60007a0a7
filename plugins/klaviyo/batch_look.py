"""Looking at a sample of profiles: what did they carry before, what do they carry now, is that worth reading them all?

The worker and the trigger run the same looks. What the sample carried before lies in a small staged file, so that the
trigger's arguments hold neither data nor keys of profiles.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import ConfigError
from include.recommendations.platform import carried
from include.recommendations.platform_batch import Sample
from include.staging import read_json, scratch, write_json
from klaviyo import look
from klaviyo.connections import Settings
from klaviyo.documents import attributes_of, page_of
from luigisbox.watching import Event, Surroundings, repeat
from vendor_http.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from include.publishers.batches import KlaviyoBatch
    from klaviyo.client import Client
    from luigisbox.wait import Wait

PROFILES = "/api/profiles"
KEPT_SAMPLES = 10


@dataclass(frozen=True)
class Look:
    """What is looked at; ``again_at`` is in epoch seconds: no look before, for what was there was just refused."""

    account: Settings
    types: tuple[str, ...]
    sample: Sample
    fresh_percent: float
    poll_seconds: float
    again_at: float = 0.0
    reason: str = ""


class SampleMemory:
    """The state of the sample at the look before; a new process has none and looks once more."""

    def __init__(self) -> None:
        self.state: str | None = None


def load_sample(path: Path) -> Sample:
    """The sample as it was staged.

    Raises:
        BadInput: it is gone or unreadable.
    """
    return Sample(read_json(path)["before"])


def stage_sample(wait: "Wait", client: "Client", settings: "KlaviyoBatch") -> Path:
    """Choose the sample of a wait and note what it carried before; the same list and last batch have one sample only.

    What was not in the batch accepted last is looked up now; so the first look of a wait comes before its batch.

    Raises:
        VendorError: that look failed.
    """
    from include.recommendations import batches
    from include.recommendations.platform_batch import choose_sample, known_digests

    latest = batches.latest(wait.root, wait.publisher.name)
    shape = hashlib.sha256(
        json.dumps([latest and latest["sha256"], settings.sample, sorted(settings.recommendation_types)]).encode()
    ).hexdigest()
    folder = wait.root / wait.publisher.name / "samples"
    path = folder / f"{wait.user_set.name}-{shape[:12]}.json"
    if path.exists():
        return path
    with scratch(folder) as work:
        chosen = choose_sample(wait.user_set, known_digests(latest), settings.sample, work / "engine")
    now: dict[str, str | None] = {}
    if not all(known for known, _ in chosen.values()):
        for page in client.profiles("all", fields=["properties"], filter=_any(chosen)):
            now |= _digests(page.rows, tuple(settings.recommendation_types))
    before = {key: digest if known else now.get(key) for key, (known, digest) in chosen.items()}
    write_json(path, {"user_set": wait.user_set.name, "batch": latest and latest["sha256"], "before": before})
    for old in sorted(folder.glob("[!.]*.json"))[:-KEPT_SAMPLES]:
        old.unlink(missing_ok=True)
    return path


async def digests(account: Settings, keys: list[str], types: tuple[str, ...]) -> dict[str, str | None]:
    """What these profiles, at most 100, carry now; one that is gone is missing.

    Raises:
        ConfigError, VendorError: as of ``klaviyo.look.get``.
    """
    if not keys:
        return {}
    params = {
        "filter": _any(keys),
        "fields[profile]": "properties",
        "page[size]": "100",
    }
    document = await look.get(account, PROFILES, params)
    return await asyncio.to_thread(_digests, page_of(document, f"GET {PROFILES}").rows, types)


def _any(keys: Iterable[str]) -> str:
    return f"any(id,{json.dumps(list(keys), separators=(',', ':'))})"


def _digests(rows: list[dict[str, Any]], types: tuple[str, ...]) -> dict[str, str | None]:
    return {row["id"]: carried(attributes_of(row).get("properties"), types).digest for row in rows}


async def state_of(what: Look) -> str:
    """A digest of what the sample carries now.

    Raises:
        ConfigError, VendorError: as of ``klaviyo.look.get``.
    """
    return _state(await digests(what.account, list(what.sample.before), what.types))


def _state(now: dict[str, str | None]) -> str:
    return hashlib.sha256(json.dumps(now, sort_keys=True).encode()).hexdigest()


async def look_once(what: Look, memory: SampleMemory) -> Event:
    """One look and what it means.

    Worth reading is a sample that carries nothing but new recommendations, or enough new ones that did not change
    since the look before: while Luigi's Box still writes, they do.
    """
    if time.time() < what.again_at:
        return {"status": "waiting", "reason": what.reason}
    try:
        now = await digests(what.account, list(what.sample.before), what.types)
    except (PermanentError, ConfigError) as error:
        return {"status": "error", "reason": str(error)}
    except TransientError as error:
        return {"status": "waiting", "reason": f"Klaviyo could not be read: {error}"}
    before = what.sample.before
    carrying = {key: digest for key, digest in now.items() if digest}
    changed = sum(digest != before.get(key) for key, digest in carrying.items())
    state = _state(now)
    settled, memory.state = state == memory.state, state
    told = f"{changed} of {len(carrying)} sampled profiles with recommendations carry new ones"
    if not carrying:
        return {"status": "waiting", "reason": f"none of {len(before)} sampled profiles carries recommendations yet"}
    if 100 * changed < what.fresh_percent * len(carrying):
        return {"status": "waiting", "reason": f"only {told}; {what.fresh_percent:g} % are wanted"}
    if settled or changed == len(before):
        return {"status": "found", "reason": told}
    return {"status": "waiting", "reason": f"{told}; waiting until that does not change between two looks"}


async def watch(what: Look, deadline: float, reason: str, around: Surroundings | None = None) -> Event:
    """Look again and again until something is worth reading, or the deadline (epoch seconds)."""
    once = partial(look_once, what, SampleMemory())
    return await repeat(once, deadline, what.poll_seconds, reason, around or Surroundings())
