"""What a publisher's SQL becomes before the database gets it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.errors import ConfigError
from include.staging import PROJECT_ROOT
from warehouse.partitions import ranges
from warehouse.queries import Partition, check_splits_itself, checked_key, narrowed, render, sql_folders, sql_text

WINDOW = {"start": "2017-03-01T01:00:00+01:00", "end": "2017-04-01T00:00:00Z"}
THIRD: Partition = {"index": 2, "of": 5, "low": None, "high": None}


def test_text_is_taken_as_it_is_and_a_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sql_text("SELECT 'x.sql' AS a") == "SELECT 'x.sql' AS a"
    assert "household_id" in sql_text(" demo_audience.sql ")
    monkeypatch.setenv("PUBLISHERS_DIR", str(tmp_path / "publishers"))
    (tmp_path / "publishers" / "more").mkdir(parents=True)
    (tmp_path / "publishers" / "more" / "own.sql").write_text("SELECT 1")
    (tmp_path / "publishers" / "demo_audience.sql").write_text("SELECT 2")
    assert sql_folders() == [tmp_path / "publishers", PROJECT_ROOT / "include" / "sql"]
    assert sql_text("more/own.sql") == "SELECT 1"
    assert sql_text("demo_audience.sql") == "SELECT 2"
    assert "basket_id" in sql_text("demo_transactions.sql")


@pytest.mark.parametrize("name", ["missing.sql", "../secret.sql", "/etc/secret.sql"])
def test_a_file_elsewhere_is_refused_with_the_folders(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBLISHERS_DIR", str(tmp_path / "publishers"))
    (tmp_path / "secret.sql").write_text("SELECT 1")
    with pytest.raises(ConfigError, match=rf"{name}.*looked below {tmp_path}/publishers, .*include/sql"):
        sql_text(name)


def test_the_template_sees_airflow_and_the_query(context: dict[str, Any]) -> None:
    template = (
        "SELECT '{{ ds }} {{ params.campaign_id }} {{ publisher }} {{ partition }}/{{ partitions }} "
        "{{ window_start }} {{ window_end | ts }} {{ window_start.strftime('%d.%m.') }}' ;\n ; "
    )
    assert render(template, context, "shop", WINDOW, THIRD) == (
        "SELECT '2026-05-01 13 shop 2/5 2017-03-01 00:00:00+00:00 2017-04-01T00:00:00+00:00 01.03.'"
    )
    assert "window_start" not in context


@pytest.mark.parametrize(
    ("template", "window", "words"),
    [
        ("SELECT '{{ window_start }}'", None, "window_start.*undefined.*no window: give window_start"),
        ("SELECT {{ windowstart }}", WINDOW, "windowstart.*undefined.*may use publisher"),
        ("SELECT {{ partition", WINDOW, "publisher shop: sql: the template cannot be rendered"),
        ("SELECT {{ ''.__class__.__mro__ }}", WINDOW, "cannot be rendered"),
        ("SELECT 1", {"start": "yesterday", "end": ""}, "publisher shop: window: came 'yesterday'"),
        ("{% if false %}SELECT 1{% endif %} ; ", WINDOW, "comes out empty"),
    ],
)
def test_a_template_that_cannot_be_is_explained(
    template: str, window: dict[str, str] | None, words: str, context: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=words):
        render(template, context, "shop", window)


def test_without_a_key_the_template_must_split(context: dict[str, Any]) -> None:
    check_splits_itself("SELECT 1 WHERE MOD(id, {{ partitions }}) = {{ partition }}", "shop", context)
    for template in ("SELECT 1", "SELECT 'partition'", "SELECT 1 {# {{ partition }} #}", "SELECT {{ partitions }}"):
        with pytest.raises(ConfigError, match="every partition would give all rows"):
            check_splits_itself(template, "shop", context)


@pytest.mark.parametrize("key", ["id; DROP TABLE x", "a.b", "1a", "", 'a"b', "a b"])
def test_a_key_is_a_plain_name(key: str) -> None:
    with pytest.raises(ConfigError, match="not a plain column name"):
        checked_key("shop", key)


def test_a_comment_at_the_end_does_not_swallow_the_limits() -> None:
    sql = narrowed("SELECT 1 AS id -- all of them", "id", {"index": 1, "of": 2, "low": 1, "high": None})
    assert sql == "SELECT * FROM (\nSELECT 1 AS id -- all of them\n) audience WHERE id >= 1"


KEYS = st.one_of(st.none(), st.integers(-(2**62), 2**62), st.integers(-20, 20))


@given(keys=st.lists(KEYS, max_size=60), late=st.lists(KEYS, max_size=5), wanted=st.integers(1, 12))
def test_every_row_is_in_exactly_one_range(keys: list[int | None], late: list[int | None], wanted: int) -> None:
    """Also rows that came in after the ranges were made, and those without a key."""
    known = [key for key in keys if key is not None]
    parts = ranges(min(known, default=None), max(known, default=None), wanted)
    assert 1 <= len(parts) <= wanted
    assert [part["index"] for part in parts] == list(range(len(parts)))
    assert {part["of"] for part in parts} == {len(parts)}
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE t (id INTEGER, n INTEGER)")
        db.executemany("INSERT INTO t VALUES (?, ?)", [(key, n) for n, key in enumerate(keys + late)])
        found = [n for part in parts for (_, n) in db.execute(narrowed("SELECT id, n FROM t", "id", part))]
    assert sorted(found) == list(range(len(keys) + len(late)))


def test_ranges_are_even() -> None:
    assert ranges(1, 100, 4) == [
        {"index": 0, "of": 4, "low": None, "high": 26},
        {"index": 1, "of": 4, "low": 26, "high": 51},
        {"index": 2, "of": 4, "low": 51, "high": 76},
        {"index": 3, "of": 4, "low": 76, "high": None},
    ]


def test_sql_of_a_run_knows_its_parameters_but_no_connection(context: dict[str, Any]) -> None:
    rendered = render("SELECT {{ params.campaign_id }}, '{{ publisher }}'", context, "shop", None, of_the_run=True)
    assert rendered == "SELECT 13, 'shop'"
    for secret in ("{{ conn.shop.password }}", "{{ var.value.key }}", "{{ task.dag }}", "{{ dag_run.conf }}"):
        with pytest.raises(ConfigError, match="is undefined"):
            render(f"SELECT '{secret}'", context, "shop", None, of_the_run=True)
