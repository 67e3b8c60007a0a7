"""All profiles of an audience, and the profile of the default set, are read for what they carry.

The pages lie in ``{publisher}/reading/{run}`` until what they hold was judged.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from include.audience.pages import RESUME_WITHIN, Record, Stream, prove, read
from include.audience.profiles import Page
from include.audience.sources import Source, sources_of
from include.errors import NotReady
from include.publishers.audiences import KlaviyoAudience
from include.recommendations.platform import Carried, carried
from include.recommendations.platform_batch import Profile, table_of
from include.recommendations.rows import DEFAULT_USER
from include.staging import remove_folder, run_folder
from klaviyo.client import ALL, Client
from klaviyo.documents import attributes_of
from klaviyo.pull import resuming

PROPERTIES = "properties"


def reading_folder(root: Path, publisher: str, run: str) -> Path:
    """Where a run's pages lie: two runs at once do not disturb each other."""
    return run_folder(root, publisher, "reading", run or "run")


def read_profiles(
    client: Client, audience: KlaviyoAudience, types: tuple[str, ...], state: str, folder: Path
) -> list[str]:
    """Read the sources that are taken one after the other, going on where an earlier try stopped.

    Like a pull, each is proven complete by its last page and Klaviyo's own count: who was not read would be taken for
    somebody without recommendations.

    Args:
        client: of the account.
        audience: whose sources they are.
        types: names of the properties.
        state: of the sample; what was read while it was another one is read anew.
        folder: of :func:`reading_folder`; those of other runs go once they are too old to go on with.

    Returns:
        Files of ``platform_batch.table_of``, in the order they were read.

    Raises:
        NotReady: a source is not complete.
        BadInput: the pages of a source would never end.
        VendorError: what Klaviyo answered at last; the pages that came are staged.
    """
    _remove_old(folder)
    staged: list[str] = []
    for source in sources_taken(audience):
        about = {"connection": client.settings.connection, "host": client.settings.base_url}
        stream = Stream(
            item=source,
            about={**about, "types": sorted(types), "state": state},
            read=partial(_pages, client, source["source"]),
            count=partial(client.profile_count, source["source"]),
            table_of=partial(table_of, types=types),
        )
        own = folder / f"{source['index']:05d}"
        done, paths = read(own, stream)
        record = prove(own, done, paths, stream, audience.tolerance_percent)
        if not record["complete"]:
            raise NotReady(_incomplete(record, audience.tolerance_percent))
        staged += paths
    return staged


def sources_taken(audience: KlaviyoAudience) -> list[Source]:
    """The sources whose profiles get recommendations."""
    return [each for each in sources_of(audience) if each["role"] == "take"]


def _incomplete(record: Record, tolerance_percent: float) -> str:
    counted = " before, and after ".join(f"{count:,}" for count in record["counted"] if count is not None)
    return (
        f"{record['source']} is not complete: {record['profiles']:,} distinct profiles were read, Klaviyo counted "
        f"{counted or 'none'}; more than {tolerance_percent:g} % apart, or without a last page"
    )


def _pages(client: Client, source: str, cursor: str | None) -> Iterator[Page]:
    for page in resuming(client.profiles(source, fields=[PROPERTIES], cursor=cursor), cursor):
        yield Page([Profile(row["id"], attributes_of(row).get(PROPERTIES)) for row in page.rows], page.cursor)


def _remove_old(folder: Path) -> None:
    newest: dict[Path, float] = {}
    for segment in folder.parent.glob("*/*/*"):
        run = segment.parent.parent
        if run != folder:
            with suppress(FileNotFoundError):  # that run has its verdict by now
                newest[run] = max(newest.get(run, 0.0), segment.stat().st_mtime)
    for run, written in newest.items():
        if time.time() - written > RESUME_WITHIN.total_seconds():
            remove_folder(run)


def default_of(client: Client, types: tuple[str, ...]) -> Carried | None:
    """What the profile with the ``external_id`` default carries; None if there is no such profile."""
    wanted = f'equals(external_id,"{DEFAULT_USER}")'
    for page in client.profiles(ALL, fields=["external_id", PROPERTIES], filter=wanted):
        for row in page.rows:
            attributes = attributes_of(row)
            if attributes.get("external_id") == DEFAULT_USER:
                return carried(attributes.get(PROPERTIES), types)
    return None
