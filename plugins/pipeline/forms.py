"""The forms of the DAGs: parameters with titles and descriptions, shared so that one name means one thing."""

from airflow.sdk import Param

from include.publishers.config import sound_publishers
from ledgers.settle import NOT_KNOWN, ROOMS, STATES

WINDOW = {
    "window_start": Param(
        None,
        type=["string", "null"],
        format="date-time",
        title="Window start",
        description="First moment of the data; empty: the run's own data interval.",
        section="Window",
    ),
    "window_end": Param(
        None,
        type=["string", "null"],
        format="date-time",
        title="Window end",
        description="The moment after the last; goes with the window's start.",
        section="Window",
    ),
}

ACCEPT_HELD = {
    "accept_held": Param(
        False,
        type="boolean",
        title="Publish a held list",
        description="A person has looked at the guard's figures and wants this list published all the same. "
        "A refused list stays refused.",
        section="Guard",
    ),
}

BATCH = {
    "deadline": Param(
        None,
        type=["string", "null"],
        format="date-time",
        title="Deadline",
        description="When to stop waiting for the batch, such as 2026-11-27T05:30:00+01:00; without an offset it is "
        "UTC. Empty: ready_minutes of the publisher before the newsletter is sent, or deadline_minutes after the "
        "upload. What follows when it passes is on_deadline of the publisher's file.",
        section="Batch",
    ),
    "recommendation_types": Param(
        None,
        type=["array", "null"],
        items={"type": "string"},
        title="Recommendation types",
        description="Deliver only these types; empty: all.",
        section="Batch",
    ),
    "deliveries": Param(
        None,
        type=["array", "null"],
        items={"type": "string"},
        title="Deliveries",
        description="Names of the publisher's deliveries to run; empty: all.",
        section="Batch",
    ),
}

AUDIENCE = {
    "audience_sql": Param(
        None,
        type=["string", "null"],
        title="Audience SQL",
        description="Columns auth_user_id and, if wanted, recipient; empty: the publisher's own query.",
        section="Audience",
        format="multiline",
    ),
    "audience_file": Param(
        None,
        type=["string", "null"],
        title="Audience list",
        description="URI of a file with the ids (.txt, .csv, .jsonl or .parquet) instead of a query. "
        "Ids themselves never go into a run's parameters.",
        section="Audience",
    ),
}

FILES = {
    "files": Param(
        None,
        type=["string", "null"],
        title="Files",
        description="URI of a file, or of many with * and ? (CSV, Parquet or JSON Lines, also .gz), instead of the "
        "publisher's source. Without a window, all sessions in them are sent, except those that were sent before.",
        section="Source",
    ),
}

INTERACTION_SOURCE = {
    "source": Param(
        None,
        type=["string", "null"],
        title="Source",
        description="Only this source of the publisher's interactions, or 'transfers'; empty: all. Goes with files.",
        section="Source",
    ),
}

NEWSLETTER = {
    "send_at": Param(
        None,
        type=["string", "null"],
        format="date-time",
        title="Newsletter is sent at",
        description="When the platform sends the newsletter, such as 2026-11-27T06:00:00+01:00; without an offset it "
        "is UTC. The run says at once, and by the event recommendations_late, if it will hardly be ready. Empty: the "
        "newsletter waits for the recommendations.",
        section="Newsletter",
    ),
    "newsletter": Param(
        None,
        type=["string", "null"],
        maxLength=300,
        title="Newsletter",
        description="Its name, for people who look at this run.",
        section="Newsletter",
    ),
}

PINS = {
    "files": Param(
        None,
        type=["string", "null"],
        title="Files",
        description="URI of a file, or of many with * and ?, instead of the publisher's query or files: one scope a "
        "line (.ndjson, .jsonl, .json, also .gz), or one pin a row (.csv, .parquet).",
        section="Pins",
    ),
    "mode": Param(
        None,
        type=["string", "null"],
        enum=[None, "create", "sync"],
        title="Mode",
        description="create: send all of them. sync: compare with what is there, and send the difference. Empty: as "
        "the publisher's file says.",
        section="Pins",
    ),
    "conflict_strategy": Param(
        None,
        type=["string", "null"],
        enum=[None, "raise", "ignore", "override"],
        title="Conflict strategy",
        description="Of a scope that is there already: raise refuses it, ignore leaves the old one, override replaces "
        "it. Empty: as the publisher's file says.",
        section="Pins",
    ),
    "dry_run": Param(
        False,
        type="boolean",
        title="Dry run",
        description="Show what would change, and change nothing.",
        section="Pins",
    ),
}

SETTLE = {
    "which": Param("transactions", type="string", enum=list(ROOMS), title="Which", description="What the file holds."),
    "file": Param(
        None,
        type=["string", "null"],
        title="File",
        description="SHA-256 of the file, or its first characters. Empty: only show the files of unknown fate.",
        section="Settle",
    ),
    "outcome": Param(
        NOT_KNOWN,
        type="string",
        enum=[NOT_KNOWN, *STATES],
        title="What became of it",
        description="What you found at the vendor. A file that is sent twice counts twice, and cannot be taken back.",
        section="Settle",
    ),
    "why": Param(
        None,
        type=["string", "null"],
        title="How do you know?",
        description="Required with a file; kept in the ledger with your name.",
        section="Settle",
    ),
}


def publisher_choice() -> dict[str, Param]:
    """A drop-down of the publishers there are; one must be chosen."""
    names = [publisher.name for publisher in sound_publishers()] or ["(no publisher file)"]
    return {
        "publisher": Param(type="string", enum=names, title="Publisher", description="A file of include/publishers.")
    }
