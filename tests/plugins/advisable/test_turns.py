"""Senders that end without a word, and books that belong to another account."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advisable.client import Client
from advisable.sending import send_units
from include.errors import NotReady
from include.ledger import Ledger, Unusable
from include.publishers.senders import Interactions
from vendor_http.retry import Retry
from vendor_http.session import Timeouts

from .conftest import BOOK, Box, build, interactions, rows_of

Send = Callable[..., dict[str, Any]]


def end_without_a_word(box: Box, ledger: Ledger, run: Path, settings: Interactions) -> None:
    def end(_: float) -> None:
        raise KeyboardInterrupt

    box.fault("429", retry_after=0)
    with pytest.raises(KeyboardInterrupt), Client(box.settings(), Retry(sleep=end)) as client:
        send_units(client, ledger, "shop", run, settings, "ended")
    assert [entry.state for entry in ledger.entries(BOOK)] == ["sending"]


def test_a_sender_that_said_nothing_has_time_to_end_before_its_units_are_sent_again(
    box: Box, send: Send, ledger: Ledger, tmp_path: Path
) -> None:
    settings = interactions("purchase", on_unknown="resend")
    build(tmp_path / "one", rows_of(6, "purchase"), settings)
    end_without_a_word(box, ledger, tmp_path / "one", settings)
    with pytest.raises(NotReady, match="sends them again"):
        send(tmp_path / "one", settings)
    assert not box.stored()
    time.sleep(0.6)
    with Client(box.settings(timeouts=Timeouts(0.1, 0.4)), Retry(attempts=1)) as client:
        assert send_units(client, ledger, "shop", tmp_path / "one", settings, "later")["sent"] == 6


def test_it_may_be_taken_for_sent_at_once(box: Box, send: Send, ledger: Ledger, tmp_path: Path) -> None:
    settings = interactions("purchase", on_unknown="assume_sent")
    build(tmp_path / "one", rows_of(6, "purchase"), settings)
    end_without_a_word(box, ledger, tmp_path / "one", settings)
    assert send(tmp_path / "one", settings)["already_sent"] == 6


def test_another_account_is_not_sent_to(box: Box, send: Send, tmp_path: Path) -> None:
    build(tmp_path / "one", rows_of(2), interactions())
    send(tmp_path / "one", interactions())
    build(tmp_path / "two", rows_of(4), interactions())
    with pytest.raises(Unusable, match="other@http"):
        send(tmp_path / "two", interactions(), app_id="other")
    assert sum(box.stored().values()) == 2
