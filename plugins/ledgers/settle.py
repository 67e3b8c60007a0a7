"""A person says what became of a file of which nobody knew: the task of the DAG ``settle_upload``."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task

from include.errors import ConfigError
from include.publishers.config import load_publisher
from ledgers import open_ledger

if TYPE_CHECKING:
    from include.ledger import State

log = logging.getLogger(__name__)
ROOMS = ("transactions", "interactions")
NOT_KNOWN = "not known yet"
ARRIVED = "it arrived"
NOT_ARRIVED = "it did not arrive: send it again"
CANCELLED = "it was confirmed, and the vendor cancelled it: send it again"
STATES: "dict[str, State]" = {NOT_ARRIVED: "prepared", ARRIVED: "confirmed", CANCELLED: "refused"}


@task
def settle() -> dict[str, Any]:
    """Show the files of unknown fate; with a file, settle it as the form of the run says.

    Returns:
        ``unknown``, how many are left; with a file also ``file``, ``state`` and the ``run`` that sent it.

    Raises:
        ConfigError: unknown publisher or room, or no reason given.
        PipelineError: there is no such file, or nothing to settle, or it is being sent right now.
    """
    context = get_current_context()
    return settle_file(context["params"], who(context["dag_run"]))


def who(dag_run: Any) -> str:
    """Who asked for the run, for the ledger: the user, if Airflow knows one, and the run."""
    user = getattr(dag_run, "triggering_user_name", None) or "unknown user"
    return f"{user} ({dag_run.dag_id} {dag_run.run_id})"


def settle_file(params: Mapping[str, Any], by: str) -> dict[str, Any]:
    """What :func:`settle` does, apart from Airflow.

    Args:
        params: ``publisher``, ``which``, ``file``, ``outcome`` and ``why`` of the form.
        by: who settles, for the ledger.
    """
    from include.ledger import tables

    publisher, room = load_publisher(params["publisher"]).name, params["which"]
    if room not in ROOMS:
        raise ConfigError(f"which: came {room!r}; allowed are {', '.join(ROOMS)}")
    ledger, book = open_ledger(), f"{publisher}/{room}"
    unknown = ledger.entries(book, ("sending", "unknown"))
    log.info("%s: %s", book, tables.open_table(unknown))
    beginning, why = (params.get("file") or "").strip().lower(), (params.get("why") or "").strip()
    if not beginning:
        return {"unknown": len(unknown)}
    if not why:
        raise ConfigError("why: say how you know; it is kept in the ledger. Nothing was changed.")
    outcome = params.get("outcome")
    if outcome not in STATES:
        allowed = " or ".join(map(repr, STATES))
        raise ConfigError(f"outcome: came {outcome!r}; to settle a file say {allowed}. Nothing was changed.")
    before, after = ledger.settle_by_hand(
        book, beginning, STATES[outcome], by, why, although_confirmed=outcome == CANCELLED
    )
    left = ledger.entries(book, ("sending", "unknown"))
    log.info("%s: was %s, is %s now (%s: %s)", after.label(), before.state, after.state, by, why)
    log.info("%s now: %s", book, tables.open_table(left))
    log.info("Now clear the task that sends, of run %s: it sends what is still to be sent.", after.run)
    return {"unknown": len(left), "file": after.sha256, "state": after.state, "run": after.run}
