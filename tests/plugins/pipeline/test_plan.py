"""The one place that resolves window, parameters and folders of a run."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.errors import ConfigError
from include.staging import to_path
from pipeline.plan import resolve

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
EMPTY = dict.fromkeys(
    (
        "window_start",
        "window_end",
        "audience_sql",
        "audience_file",
        "files",
        "deadline",
        "deliveries",
        "recommendation_types",
    )
)


@pytest.fixture(autouse=True)
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STAGING_URI", tmp_path.as_uri())
    return tmp_path


def context(params: dict[str, Any] | None = None, interval: tuple[datetime, datetime] | None = None) -> dict[str, Any]:
    logical = interval[0] if interval else None
    made = {
        "params": EMPTY | (params or {}),
        "dag": SimpleNamespace(dag_id="audience__demo", params=EMPTY | {"send_at": None}),
        "dag_run": SimpleNamespace(
            run_id="manual__2026-05-01T12:00:00+00:00",
            run_after=NOON,
            logical_date=logical,
            run_type="scheduled" if interval else "manual",
            conf=params or {},
        ),
    }
    if interval:
        made |= {"data_interval_start": interval[0], "data_interval_end": interval[1]}
    return made


def test_a_scheduled_run_is_about_its_interval() -> None:
    plan = resolve(
        "demo", "audience", context(interval=(datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)))
    )
    assert plan["window"] == {"start": "2026-04-01T00:00:00+00:00", "end": "2026-05-01T00:00:00+00:00"}
    assert plan["as_of"] == "2026-05-01T00:00:00+00:00"
    assert plan["since"] == "2026-04-01T00:00:00+00:00"


def test_a_run_without_an_interval_is_as_of_when_it_was_asked_for() -> None:
    plan = resolve("demo", "audience", context())
    assert plan["window"] is None
    assert plan["as_of"] == "2026-05-01T12:00:00+00:00"
    assert plan["since"] is None


def test_parameters_win_over_the_interval_and_zones_become_utc() -> None:
    params = {"window_start": "2026-01-01T01:00:00+01:00", "window_end": "2026-01-02T00:00:00"}
    plan = resolve("demo", "audience", context(params, (datetime(2026, 4, 1, tzinfo=UTC), NOON)))
    assert plan["window"] == {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-02T00:00:00+00:00"}


def test_the_folder_is_the_runs_own(staging: Path) -> None:
    plan = resolve("demo", "audience", context())
    folder = to_path(plan["run"])
    assert folder.parent == staging / "demo" / "audience"
    assert folder.name == "audience__demo--manual__2026-05-01T12-00-00-00-00"


def test_the_wait_ends_before_the_newsletter_is_sent() -> None:
    plan = resolve("demo", "audience", context({"send_at": "2126-05-01T08:00:00+02:00"}))
    assert plan["send_at"] == "2126-05-01T06:00:00+00:00"
    assert plan["deadline"] == "2126-05-01T05:30:00+00:00"
    assert resolve("demo", "audience", context())["deadline"] is None


def test_deliveries_default_to_all_and_are_checked() -> None:
    assert resolve("demo", "audience", context())["deliveries"] == ["feed", "warehouse_table", "top_products", "ready"]
    assert resolve("demo", "audience", context({"deliveries": ["feed"]}))["deliveries"] == ["feed"]
    with pytest.raises(ConfigError, match="no delivery 'fed'; known are feed"):
        resolve("demo", "audience", context({"deliveries": ["fed"]}))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"window_start": "2026-01-01"}, "go together"),
        ({"window_start": "2026-01-02", "window_end": "2026-01-02"}, "window is empty"),
        ({"window_start": "soon", "window_end": "2026-01-02"}, "window_start: came 'soon'"),
        ({"deadline": "tonight"}, "deadline: came 'tonight'"),
        ({"send_at": "tomorrow"}, "send_at: came 'tomorrow'"),
        ({"deadline": "2026-01-01T00:00:00Z"}, "deadline: 2026-01-01T00:00:00.00:00 is past"),
        ({"audience_sql": "SELECT 1", "audience_file": "file:///ids.txt"}, "both given"),
    ],
)
def test_what_cannot_be_resolved_is_said(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve("demo", "audience", context(params))


def test_an_unknown_publisher_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="known publishers: demo"):
        resolve("demmo", "audience", context())


def test_a_misspelt_parameter_is_refused_and_one_of_the_runs_own_is_not() -> None:
    with pytest.raises(ConfigError, match="no parameter 'sendat'; did you mean send_at"):
        resolve("demo", "audience", context({"sendat": "2026-05-01T12:00:00"}))
    assert resolve("demo", "audience", context({"campaign_id": 7}))["publisher"] == "demo"


def test_a_run_by_hand_of_a_dag_without_a_schedule_has_no_window() -> None:
    assert resolve("demo", "audience", context(interval=(NOON, NOON)))["window"] is None
    with pytest.raises(ConfigError, match="no data interval"):
        resolve("demo", "transactions", context(interval=(NOON, NOON)))


def test_files_of_the_run_take_the_place_of_its_interval_but_not_of_a_window_that_is_given() -> None:
    interval = (datetime(2026, 4, 1, tzinfo=UTC), NOON)
    window = {"window_start": "2026-01-01T00:00:00Z", "window_end": "2026-02-01T00:00:00Z"}
    plain = resolve("demo", "transactions", context(interval=interval))
    assert (plain["files"], plain["window"]) == (None, {"start": "2026-04-01T00:00:00+00:00", "end": NOON.isoformat()})
    given = resolve("demo", "transactions", context({"files": "s3://shop/*.csv"}, interval))
    assert (given["files"], given["window"]) == ("s3://shop/*.csv", None)
    both = resolve("demo", "transactions", context({"files": "s3://shop/*.csv", **window}, interval))
    assert both["window"] == {"start": "2026-01-01T00:00:00+00:00", "end": "2026-02-01T00:00:00+00:00"}
    assert resolve("demo", "transactions", context({"files": "/history.csv"}))["window"] is None


def test_a_publisher_of_files_needs_no_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, staging: Path) -> None:
    for name, source in (("files", 'files: "/data/*.csv"'), ("none", "")):
        section = f"past_transactions: {{{source}}}" if source else ""
        (tmp_path / f"{name}.yaml").write_text(
            "audience: {connection: c, sql: SELECT 1}\nbatch: {link: 'https://example.com/b.xml'}\n"
            f"luigisbox: {{connection: {name}}}\ndeliveries: [{{name: ready, kind: asset}}]\n{section}\n"
        )
    monkeypatch.setenv("PUBLISHERS_DIR", str(tmp_path))
    assert resolve("files", "transactions", context())["window"] is None
    with pytest.raises(ConfigError, match="publisher none: past_transactions is missing"):
        resolve("none", "transactions", context())


def test_an_object_store_without_a_database_for_turns_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGING_URI", "s3://store@shop/newsletters")
    monkeypatch.delenv("LEDGER_CONNECTION", raising=False)
    with pytest.raises(ConfigError, match="STAGING_URI names an object store, so LEDGER_CONNECTION must name"):
        resolve("demo", "audience", context())
    monkeypatch.setenv("LEDGER_CONNECTION", "misspelt")
    with pytest.raises(ConfigError, match="no Airflow connection 'misspelt'"):
        resolve("demo", "audience", context())
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", "postgres://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("LEDGER_CONNECTION", "ledger")
    assert resolve("demo", "audience", context())["run"].startswith("s3://store@shop/newsletters/demo/audience/")
