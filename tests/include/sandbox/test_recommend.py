"""Recommendations: what must hold whatever was bought, and that bread goes with butter."""

import random
from collections import Counter
from datetime import date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.errors import ConfigError
from include.sandbox.recommend import recommend
from include.sandbox.settings import parse_types

TODAY = date(2024, 6, 30)
COLUMNS = ("session_id", "identity", "user_id", "bought_at")
Row = tuple[str, str, str | None, datetime | None]
Lists = dict[str, dict[int, list[str]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recommend")


def lists_of(folder: Path, users: list[str] | None, rows: list[Row], types: dict[str, int | str]) -> Lists:
    """The lists of each user by type; users with none at all are there too."""
    schema = pa.schema([(name, pa.timestamp("us") if name == "bought_at" else pa.string()) for name in COLUMNS])
    table = pa.Table.from_pylist([dict(zip(COLUMNS, row, strict=True)) for row in rows], schema=schema)
    pq.write_table(table, folder / "t.parquet")
    pq.write_table(pa.table({"auth_user_id": pa.array(users or [], pa.string())}), folder / "u.parquet")
    with duckdb.connect(config={"threads": "1"}) as connection:
        source = folder / "u.parquet" if users is not None else None
        recommend(connection, source, [folder / "t.parquet"] if rows else [], parse_types(types), TODAY)
        found: Lists = {row[0]: {} for row in connection.execute("SELECT user_id FROM everybody").fetchall()}
        query = "SELECT user_id, type, rank, identity FROM lists JOIN everybody USING (no) ORDER BY no, type, rank"
        for user, number, rank, item in connection.execute(query).fetchall():
            chosen = found[user].setdefault(number, [])
            chosen.append(item)
            assert rank == len(chosen)
    return found


rows_of_a_shop = st.lists(
    st.tuples(
        st.integers(0, 12).map(lambda number: f"s{number}"),
        st.integers(0, 9).map(lambda number: f"p{number}"),
        st.one_of(st.none(), st.sampled_from(["u0", "u1", "u2", "stranger", "default"])),
        st.one_of(st.none(), st.datetimes(datetime(2023, 1, 1), datetime(2024, 9, 1))),
    ),
    max_size=50,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows_of_a_shop, slots=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)))
def test_what_always_holds(folder: Path, rows: list[Row], slots: tuple[int, int, int]) -> None:
    users = ["u0", "u1", "u2", "u2", "never-bought"]
    types = {"basket": slots[0], "more": slots[1], "top": f"{slots[2]}:popular"}
    found = lists_of(folder, users, rows, types)
    start, half, end = datetime(2023, 7, 2), datetime(2023, 12, 30), datetime(2024, 7, 1)
    known = [(s, item, user, at or datetime(2024, 6, 30)) for s, item, user, at in rows]
    known = [row for row in known if start <= row[3] < end]
    active = {user for _, _, user, at in known if at >= half} & set(users)
    items = {item for _, item, _, _ in known}
    assert set(found) == active | ({"default"} if items else set())
    for user in active:
        bought = {row[1] for row in known if row[2] == user}
        chosen = [item for each in found[user].values() for item in each]
        assert len(chosen) == len(set(chosen)) == min(sum(slots), len(items - bought))
        assert not bought & set(chosen)
        assert all(len(found[user].get(number, [])) <= slots[number] for number in range(3))
    sellers = Counter(item for _, item in {(session, item) for session, item, _, _ in known})
    ranked = sorted(sellers, key=lambda item: (-sellers[item], item))
    if items:
        assert [item for each in found["default"].values() for item in each] == ranked[: sum(slots)]


def test_the_order_of_the_input_does_not_matter(folder: Path) -> None:
    chance = random.Random(7)
    when = datetime(2024, 5, 1)
    rows: list[Row] = [
        (f"s{chance.randrange(60)}", f"p{chance.randrange(30)}", f"u{chance.randrange(9)}", when) for _ in range(400)
    ]
    users = [f"u{number}" for number in range(9)]
    first = lists_of(folder, users, rows, {"a": 5, "b": 3})
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        random.Random(seed).shuffle(users)
        assert lists_of(folder, users, rows, {"a": 5, "b": 3}) == first


def test_bread_goes_with_butter(folder: Path) -> None:
    when = datetime(2024, 6, 1)
    rows: list[Row] = []
    for number in range(30):
        rows += [(f"a{number}", "bread", None, when), (f"a{number}", "butter", None, when)]
        rows += [(f"b{number}", "beer", None, when), (f"b{number}", "crisps", None, when)]
        rows += [(f"c{number}", "milk", None, when), (f"d{number}", "milk", None, when)]
    rows += [("own", "bread", "u", when), ("own2", "crisps", "v", when)]
    found = lists_of(folder, ["u", "v"], rows, {"basket": 1, "rest": 1, "top": "1:popular"})
    assert found["u"][0] == ["butter"]
    assert found["v"][0] == ["beer"]
    assert found["default"][0] == ["milk"]


def test_nothing_uploaded_gives_nothing(folder: Path) -> None:
    assert lists_of(folder, None, [], {"a": 1}) == {}
    assert lists_of(folder, ["u"], [], {"a": 1}) == {}
    assert list(lists_of(folder, None, [("s", "p", "u", None)], {"a": 1})) == ["default"]


@pytest.mark.parametrize(
    ("types", "mistake"),
    [
        ({}, "at least one"),
        ({"a": 0}, "'0' slots"),
        ({"a": 1001}, "1001"),
        ({"a": "x"}, "'x'"),
        ({"a": "3:magic"}, "basket, discovery, popular"),
        ({"a\nb": 3}, "printable"),
        ({"": 3}, "printable"),
    ],
)
def test_types_that_cannot_be(types: dict[str, int | str], mistake: str) -> None:
    with pytest.raises(ConfigError, match=mistake):
        parse_types(types)


def test_algorithms_of_types() -> None:
    types = parse_types({"a": 8, "b": "4", "c": "2:popular", "d": "1:basket"})
    assert [each.algorithm for each in types] == ["basket", "discovery", "popular", "basket"]
