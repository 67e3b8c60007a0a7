"""The operators: upload of a user set, upload of past transactions, and the wait for the batch.

What they return is also there key by key, so ``upload.output["user_set"]`` works as an argument of another task.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from include.errors import ConfigError, PipelineError
from include.publishers.config import load_publisher, past_transactions
from include.staging import staging_root, to_path
from luigisbox.assets import user_set_accepted
from luigisbox.extra_links import ResultLink
from luigisbox.hooks import LuigisBoxHook
from luigisbox.retries import RETRY_POLICY

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from include.publishers.models import Publisher
    from luigisbox.wait import Outcome, Place, Wait
    from luigisbox.watching import Event


class UploadUsersOperator(BaseOperator):
    """Send the chunks of an audience run as one file; on success the list is the live one.

    Returns ``{"user_set", "uri", "rows", "bytes", "sha256", "seconds", "attempts"}`` and puts the same on the events
    of its outlets; an ``AssetAlias`` among them gets the publisher's own asset. A list that is empty, or older than
    the live one, is not sent. With ``luigisbox.upload_users: false`` the list is only recorded (0 attempts).

    Args:
        publisher: name of the publisher file. Templated.
        run: URI of the audience run's folder. Templated.
    """

    template_fields: Sequence[str] = ("publisher", "run")
    ui_color = "#e8f4ea"

    def __init__(self, *, publisher: str, run: str, **options: Any) -> None:
        super().__init__(**{"retry_policy": RETRY_POLICY, "multiple_outputs": True, **options})
        self.publisher = publisher
        self.run = run
        self.sent: dict[str, Any] = {}

    def execute(self, context: "Context") -> dict[str, Any]:
        """Check once more, send, note the accepted list, announce it."""
        from luigisbox.uploads import record_users, send_users

        settings, run = load_publisher(self.publisher).luigisbox, to_path(self.run)
        if settings.upload_users:
            figures = send_users(LuigisBoxHook(settings.connection).client, staging_root(), self.publisher, run)
        else:
            figures = record_users(staging_root(), self.publisher, run)
        self.sent = figures
        for outlet in self.outlets:
            event = context["outlet_events"][outlet]
            event.extra = dict(figures)
            event.add(user_set_accepted(self.publisher), extra=dict(figures))
        return figures

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "OperatorLineage[Any, Any]":  # noqa: ARG002
        """The staged chunks went in, the user set came out."""
        from luigisbox.uploads import upload_lineage

        return upload_lineage(self.publisher, self.run, "users", self.sent)


class UploadTransactionsOperator(BaseOperator):
    """Send the sessions of a transactions run, each at most once: the ledger knows what was sent already.

    Returns ``{"files", "sent", "already_sent", "changed", "unknown", "bytes", "seconds"}``; the four in the middle are
    ``{"sessions", "rows"}`` each, the others are those of the files that were sent.

    Args:
        publisher: name of the publisher file. Templated.
        run: URI of the transactions run's folder. Templated.
    """

    template_fields: Sequence[str] = ("publisher", "run")
    ui_color = "#e8f4ea"

    def __init__(self, *, publisher: str, run: str, **options: Any) -> None:
        super().__init__(**{"retry_policy": RETRY_POLICY, "multiple_outputs": True, **options})
        self.publisher = publisher
        self.run = run
        self.sent: dict[str, Any] = {}

    def execute(self, context: "Context") -> dict[str, Any]:
        """Send what the ledger does not know as sent."""
        from ledgers import open_ledger
        from luigisbox.transactions import send_transactions

        publisher = load_publisher(self.publisher)
        settings = past_transactions(publisher)
        client = LuigisBoxHook(publisher.luigisbox.connection).client
        by = f"{context['ti'].dag_id}/{context['ti'].task_id} {context['run_id']}"
        run, ledger = to_path(self.run), open_ledger()
        self.sent = send_transactions(client, ledger, self.publisher, run, by, settings.on_unknown)
        return self.sent

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "OperatorLineage[Any, Any]":  # noqa: ARG002
        """The staged files went in, past transactions came out."""
        from luigisbox.uploads import upload_lineage

        figures = {"rows": self.sent["sent"]["rows"], "bytes": self.sent["bytes"]}
        return upload_lineage(self.publisher, self.run, "interactions", figures)


class WaitForBatchOperator(BaseOperator):
    """Wait until link or platform shows a whole, fresh batch made of our list; fetch, parse and accept it.

    Returns ``{"uri", "sha256", "rows", "users", "bytes", "user_set", "outcome"}`` with outcome ``fresh``,
    ``previous`` or ``default_only``.

    Args:
        publisher: name of the publisher file. Templated.
        user_set: name of the accepted list; empty: the live one. Templated.
        deadline: ISO time; empty: ``deadline_minutes`` of the publisher file after the list was sent, or after the
            run started if that is later. Templated.
        on_deadline: ``fail``, ``use_previous`` or ``default_only``; empty: as the publisher file says. Templated.
        since: ISO time; of a run on a schedule the start of its interval: an older batch is stale, and so is one that
            another run accepted. One that came too late for the run before is neither; only ``max_age_hours`` of the
            publisher file tells it apart. Empty: only the list's age counts. Templated.
        deferrable: wait in the triggerer, not on a worker. Both ways run the same code.
    """

    template_fields: Sequence[str] = ("publisher", "user_set", "deadline", "on_deadline", "since")
    operator_extra_links = (ResultLink(),)
    ui_color = "#fdf3d8"

    def __init__(
        self,
        *,
        publisher: str,
        user_set: str = "",
        deadline: str | None = None,
        on_deadline: str | None = None,
        since: str | None = None,
        deferrable: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**{"retry_policy": RETRY_POLICY, "multiple_outputs": True, **options})
        self.publisher = publisher
        self.user_set = user_set
        self.deadline = deadline
        self.on_deadline = on_deadline
        self.since = since
        self.deferrable = deferrable
        self.result_link = ""
        self.batch: dict[str, Any] = {}

    def execute(self, context: "Context") -> dict[str, Any]:
        """Look once; what is there already is not waited for."""
        from luigisbox.wait import deadline_of, find_user_set

        settings = load_publisher(self.publisher)
        user_set = find_user_set(staging_root(), self.publisher, self.user_set)
        deadline = deadline_of(self.deadline or "", user_set, _started(context), settings.batch.deadline_minutes)
        wait, place = self._wait(context, user_set.name, deadline), self.place(settings)
        self.result_link = place.shown
        return self._proceed(wait, place, place.look(wait))

    def resume(self, context: "Context", event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Go on after the trigger's one event, in a new process that knows nothing else.

        Raises:
            PipelineError: the event is missing or unknown.
        """
        if not event or event.get("status") not in ("found", "deadline", "error"):
            raise PipelineError(f"{self.task_id}: the trigger's event is {event!r}; expected found, deadline or error")
        wait = self._wait(context, event["user_set"], event["deadline"], tuple(event["refused"]))
        place = self.place(wait.publisher)
        self.result_link = place.shown
        return self._proceed(wait, place, event)

    def place(self, publisher: "Publisher") -> "Place":
        """Where the batch is waited for: a link.

        Raises:
            ConfigError: this publisher's batch is elsewhere.
        """
        from luigisbox.link_place import LinkPlace

        if publisher.batch.source != "link":
            raise ConfigError(f"publisher {publisher.name}: batch.from is {publisher.batch.source}; there is no link")
        return LinkPlace(publisher.batch)

    def _proceed(self, wait: "Wait", place: "Place", found: "Outcome | Event") -> dict[str, Any]:
        """Act on what the looks found, until there is a batch, or defer."""
        from dataclasses import replace

        from luigisbox.wait import Outcome, refuse_superseded, stand_in
        from vendor_http.errors import PermanentError

        while not isinstance(found, Outcome):
            wait = replace(wait, reason=found["reason"] or wait.reason)
            if found["status"] == "error":
                raise PermanentError(f"{self.result_link}: {found['reason']} Waiting cannot mend that.")
            if found["status"] == "deadline":
                found = stand_in(wait, self.on_deadline or wait.publisher.batch.on_deadline)
                break
            result = place.examine(wait) if found["status"] == "found" else wait
            if isinstance(result, Outcome):
                found = result
                break
            wait = result
            refuse_superseded(wait)
            self.log.info("still waiting: %s", wait.reason)
            if self.deferrable:
                self.defer(trigger=place.trigger(wait), method_name="resume")
            found = place.watch(wait)
        self.batch = found.as_dict()
        return self.batch

    def _wait(self, context: "Context", user_set: str, deadline: float, refused: tuple[Any, ...] = ()) -> "Wait":
        from luigisbox.wait import Wait, find_user_set, since_of

        settings = load_publisher(self.publisher)
        return Wait(
            root=staging_root(),
            publisher=settings,
            user_set=find_user_set(staging_root(), self.publisher, user_set),
            deadline=deadline,
            refused=refused,
            run=f"{self.dag_id} {context.get('run_id', '')}",
            since=since_of(self.since or "", _started(context), settings.batch.max_age_hours),
        )

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "OperatorLineage[Any, Any]":  # noqa: ARG002
        """The place went in, the staged batch came out."""
        from luigisbox.lineage import file_dataset, operator_lineage

        output, place = file_dataset(self.batch["uri"]), self.place(load_publisher(self.publisher))
        return operator_lineage([place.dataset], output, self.batch["rows"], self.batch["bytes"])


def _started(context: "Context") -> datetime | None:
    """When the run started; cleared runs start anew."""
    return getattr(context.get("dag_run"), "start_date", None)
