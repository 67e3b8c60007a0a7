"""One question to the database, and the pulls are cut."""

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from include.errors import ConfigError
from warehouse.partitions import plan_partitions

PEOPLE = "SELECT id, name AS auth_user_id FROM people"
ALL = {"index": 0, "of": 1, "low": None, "high": None}


@pytest.fixture
def people(shop: sqlite3.Connection) -> sqlite3.Connection:
    shop.execute("CREATE TABLE people (id, name)")
    shop.executemany("INSERT INTO people VALUES (?, ?)", [(i, f"u{i}") for i in range(10, 20)])
    return shop


def test_the_span_of_the_keys_is_cut(
    people: sqlite3.Connection, publisher: Callable[..., None], context: dict[str, Any]
) -> None:
    publisher(sql=f"{PEOPLE} WHERE id < '{{{{ window_end | ds }}}}' ;", partitions=2, partition_key="ID")
    assert plan_partitions("shop", {"start": "2017-01-01T00:00:00Z", "end": "2018-01-01T00:00:00Z"}, context) == [
        {"index": 0, "of": 2, "low": None, "high": 15},
        {"index": 1, "of": 2, "low": 15, "high": None},
    ]


def test_one_partition_asks_nobody(publisher: Callable[..., None]) -> None:
    publisher(connection="not_there", sql=PEOPLE, partition_key="id")
    assert plan_partitions("shop") == [ALL]


def test_no_rows_and_only_null_keys_are_one_partition(
    people: sqlite3.Connection, publisher: Callable[..., None], context: dict[str, Any]
) -> None:
    publisher(sql=PEOPLE, partitions=4, partition_key="id")
    people.execute("UPDATE people SET id = NULL")
    assert plan_partitions("shop", None, context) == [ALL]
    people.execute("DELETE FROM people")
    assert plan_partitions("shop", None, context) == [ALL]


def test_few_keys_make_few_partitions(
    people: sqlite3.Connection, publisher: Callable[..., None], context: dict[str, Any]
) -> None:
    publisher(sql=f"{PEOPLE} WHERE id < 13", partitions=50, partition_key="id")
    assert len(plan_partitions("shop", None, context)) == 3


def test_without_a_key_the_query_splits_itself(publisher: Callable[..., None], context: dict[str, Any]) -> None:
    publisher(sql=f"{PEOPLE} WHERE id % {{{{ partitions }}}} = {{{{ partition }}}}", partitions=3)
    assert plan_partitions("shop", None, context) == [{**ALL, "index": index, "of": 3} for index in range(3)]
    publisher(sql=f"{PEOPLE} WHERE name = 'partition'", partitions=3)
    with pytest.raises(ConfigError, match="partitions > 1 needs partition_key"):
        plan_partitions("shop", None, context)


def test_a_key_that_is_no_column_names_those_found(
    people: sqlite3.Connection, publisher: Callable[..., None], context: dict[str, Any]
) -> None:
    publisher(sql="SELECT name AS auth_user_id, id AS number FROM people", partitions=2, partition_key="id")
    with pytest.raises(ConfigError, match=r"no column id; found auth_user_id, number\. Add it"):
        plan_partitions("shop", None, context)


@pytest.mark.parametrize("value", ["'a'", "1.0", "x'00'", "9e99"])
def test_a_key_that_is_no_integer_is_refused(
    value: str, people: sqlite3.Connection, publisher: Callable[..., None], context: dict[str, Any]
) -> None:
    people.execute(f"UPDATE people SET id = {value} WHERE id = 15")
    people.execute("DELETE FROM people WHERE id > 15 AND typeof(id) = 'integer'")
    publisher(sql=PEOPLE, partitions=2, partition_key="id")
    if value == "1.0":
        people.execute("UPDATE people SET id = 1.5")
    with pytest.raises(ConfigError, match=r"id must be an integer column, its values are of type (str|float|bytes)"):
        plan_partitions("shop", None, context)


@pytest.mark.parametrize(("kind", "fine"), [("bigint", True), ("numeric(12, 0)", True), ("numeric", False)])
def test_whole_decimals_are_integers_in_postgres(
    kind: str, fine: bool, postgres: Any, publisher: Callable[..., None], context: dict[str, Any]
) -> None:
    postgres.execute(f"CREATE TABLE people (id {kind}, name text)")
    postgres.execute("INSERT INTO people VALUES (1, 'a'), (100.5, 'b'), (NULL, 'c')")
    publisher(connection="pg", sql="SELECT name AS auth_user_id, id FROM people;", partitions=2, partition_key="id")
    if fine:
        assert [part["high"] for part in plan_partitions("shop", None, context)] == [51, None]
    else:
        with pytest.raises(ConfigError, match="type Decimal"):
            plan_partitions("shop", None, context)
