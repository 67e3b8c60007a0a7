"""The operator that sends a run of pins."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseOperator

from include.errors import ConfigError
from include.publishers.config import load_publisher
from include.staging import staging_root, to_path
from luigisbox.hooks import LuigisBoxHook
from luigisbox.retries import RETRY_POLICY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from luigisbox.pin_sending import Mode
    from luigisbox.pins import Strategy

_MODES = ("create", "sync")
_STRATEGIES = ("raise", "ignore", "override")


class SendPinsOperator(BaseOperator):
    """Send the scopes of a run that was built: all of them, or (``sync``) what differs from what is there.

    Returns the run's figures; what became of each line is in ``results.parquet`` of the run's folder.

    Args:
        publisher: name of the publisher file. Templated.
        run: URI of the run's folder. Templated.
        as_of: the moment whose pins these are, in ISO-8601. Templated.
        mode: ``create`` or ``sync``; empty: as the publisher file says. Templated.
        conflict_strategy: ``raise``, ``ignore`` or ``override``; empty: as the publisher file says. Templated.
        only_show: show what would change, and change nothing; ``true`` or ``false``. Templated.
    """

    template_fields: Sequence[str] = ("publisher", "run", "as_of", "mode", "conflict_strategy", "only_show")
    ui_color = "#e8f4ea"

    def __init__(
        self,
        *,
        publisher: str,
        run: str,
        as_of: str,
        mode: str = "",
        conflict_strategy: str = "",
        only_show: str | bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**{"retry_policy": RETRY_POLICY, "multiple_outputs": True, **options})
        self.publisher = publisher
        self.run = run
        self.as_of = as_of
        self.mode = mode
        self.conflict_strategy = conflict_strategy
        self.only_show = only_show

    def execute(self, context: "Context") -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Send.

        Raises:
            ConfigError: the publisher sends no pins, or an argument is none of those allowed.
            BadInput: newer pins were sent already.
        """
        from include.pins.newest import one_sender
        from luigisbox.pin_sending import send_pins

        publisher = load_publisher(self.publisher)
        if publisher.pins is None:
            raise ConfigError(f"publisher {self.publisher}: pins is missing in its file")
        mode = _one_of("mode", self.mode or publisher.pins.mode, _MODES)
        strategy = _one_of("conflict_strategy", self.conflict_strategy or publisher.pins.conflict_strategy, _STRATEGIES)
        only_show = _one_of("only_show", str(self.only_show).lower(), ("true", "false"))
        run = to_path(self.run)
        with one_sender(staging_root() / publisher.name / "pins", datetime.fromisoformat(self.as_of), run) as newest:
            return send_pins(
                LuigisBoxHook(publisher.luigisbox.connection).pins,
                run,
                publisher.pins,
                newest,
                mode=cast("Mode", mode),
                conflict_strategy=cast("Strategy", strategy),
                dry_run=only_show == "true",
            )


def _one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise ConfigError(f"{name}: came {value!r}; allowed are {', '.join(allowed)}. Nothing was sent.")
    return value
