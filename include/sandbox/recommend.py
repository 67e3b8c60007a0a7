"""Who is recommended what, computed in DuckDB from the transactions that were uploaded.

Two products are neighbours when they were bought in one session; they are the closer, the more often that happened
for how often each was bought (the cosine). A user's candidates are the neighbours of what the user bought, then the
best-sellers; never what the user bought already, and never the same product in two types.

    basket      the closest neighbours first
    discovery   the best-selling among the neighbours first
    popular     the best-sellers first

Everything is as of ``today``: purchases of the 52 weeks before it count, later ones do not exist yet, and users
without a purchase in the six months before it get nothing. A purchase without a time counts as bought today. The same
input gives the same lists.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import duckdb

from include.sandbox.settings import Algorithm, RecommendationType

DEFAULT_ID = "default"
SESSION_ITEMS = 25  # of longer sessions, the best-selling products
NEIGHBOURS = 20  # of each product, the closest
HISTORY = 40  # of each user's products, the most often bought
USERS_AT_A_TIME = 10_000
MANY_PURCHASES = 50_000  # from here on, what happened only once is left out

_ORDER: dict[Algorithm, str] = {
    "basket": "score DESC, item",
    "discovery": "score > 0 DESC, item",
    "popular": "item",
}


def recommend(
    connection: duckdb.DuckDBPyConnection,
    users: Path | None,
    transactions: Sequence[Path],
    types: Sequence[RecommendationType],
    today: date,
) -> None:
    """Make the tables ``everybody(no, user_id)`` and ``lists(no, type, rank, identity)``, both in order.

    Users are numbered from 1 in the order of their ids; the last number is the id ``default``, whose lists are the
    default set (without any purchases there is none). ``type`` counts the types from 0, ``rank`` from 1.
    """
    _purchases(connection, transactions, today)
    _active(connection, users, today)
    _neighbours(connection)
    _everybody(connection)
    _lists(connection, types)


def _purchases(connection: duckdb.DuckDBPyConnection, transactions: Sequence[Path], today: date) -> None:
    connection.execute("""CREATE TABLE purchases
        (session_id VARCHAR, identity VARCHAR, user_id VARCHAR, bought_at TIMESTAMP)""")
    if transactions:
        connection.execute(
            """INSERT INTO purchases
            SELECT session_id, identity, user_id, coalesce(t.bought_at, $today) AS bought_at
            FROM read_parquet($files) AS t
            WHERE coalesce(t.bought_at, $today) >= $today::DATE - INTERVAL 52 WEEK
                AND coalesce(t.bought_at, $today) < $today::DATE + INTERVAL 1 DAY""",
            {"files": [str(path) for path in transactions], "today": today},
        )
    connection.execute("""CREATE TABLE items AS
        SELECT identity, sessions, (row_number() OVER (ORDER BY sessions DESC, identity))::INTEGER AS item
        FROM (SELECT identity, count(DISTINCT session_id) AS sessions FROM purchases GROUP BY identity)""")


def _active(connection: duckdb.DuckDBPyConnection, users: Path | None, today: date) -> None:
    connection.execute("CREATE TABLE active (no INTEGER, user_id VARCHAR)")
    if users is not None:
        connection.execute(
            """INSERT INTO active
            SELECT row_number() OVER (ORDER BY auth_user_id), auth_user_id
            FROM (SELECT DISTINCT auth_user_id FROM read_parquet($users)) WHERE auth_user_id IN
                (SELECT user_id FROM purchases WHERE bought_at >= $today::DATE - INTERVAL 6 MONTH)""",
            {"users": str(users), "today": today},
        )
    connection.execute("""CREATE TABLE bought AS
        SELECT no, item, count(*) AS times, max(bought_at) AS last_bought
        FROM purchases JOIN active USING (user_id) JOIN items USING (identity) GROUP BY no, item""")


def _neighbours(connection: duckdb.DuckDBPyConnection) -> None:
    counted = connection.execute("SELECT count(*) FROM purchases").fetchone()
    least = 2 if counted and counted[0] >= MANY_PURCHASES else 1
    connection.execute(
        """CREATE TABLE baskets AS
        SELECT DISTINCT hash(session_id) AS session, item
        FROM purchases JOIN items USING (identity) WHERE sessions >= $least
        QUALIFY dense_rank() OVER (PARTITION BY session ORDER BY item) <= $longest""",
        {"least": least, "longest": SESSION_ITEMS},
    )
    connection.execute(
        """CREATE TABLE pairs AS
        SELECT one.item AS one, two.item AS two, count(*)::FLOAT AS together
        FROM baskets AS one JOIN baskets AS two ON one.session = two.session AND one.item < two.item
        GROUP BY ALL HAVING together >= $least""",
        {"least": least},
    )
    connection.execute(
        """CREATE TABLE neighbours AS
        SELECT one, two, together / sqrt(a.sessions * b.sessions) AS closeness
        FROM (FROM pairs UNION ALL SELECT two, one, together FROM pairs) AS directed
        JOIN items AS a ON a.item = one JOIN items AS b ON b.item = two
        QUALIFY row_number() OVER (PARTITION BY one ORDER BY closeness DESC, two) <= $kept""",
        {"kept": NEIGHBOURS},
    )


def _everybody(connection: duckdb.DuckDBPyConnection) -> None:
    for table in ("purchases", "baskets", "pairs"):
        connection.execute(f"DROP TABLE {table}")
    connection.execute(f"""CREATE TABLE everybody AS
        FROM active UNION ALL
        SELECT (SELECT count(*) + 1 FROM active), '{DEFAULT_ID}' WHERE EXISTS (FROM items)
        ORDER BY no""")


def _lists(connection: duckdb.DuckDBPyConnection, types: Sequence[RecommendationType]) -> None:
    connection.execute("CREATE TABLE lists (no INTEGER, type INTEGER, rank INTEGER, identity VARCHAR)")
    counted = connection.execute("SELECT count(*) FROM active").fetchone()
    for first in range(1, (counted[0] if counted else 0) + 1, USERS_AT_A_TIME):
        _candidates(connection, first, sum(each.slots for each in types))
        _choose(connection, types)
    shown = 0
    for number, each in enumerate(types):
        connection.execute(
            """INSERT INTO lists SELECT no, $type, item - $shown, identity FROM everybody CROSS JOIN items
            WHERE user_id = $default AND item > $shown AND item <= $shown + $slots ORDER BY item""",
            {"type": number, "shown": shown, "slots": each.slots, "default": DEFAULT_ID},
        )
        shown += each.slots


def _candidates(connection: duckdb.DuckDBPyConnection, first: int, slots: int) -> None:
    connection.execute(
        """CREATE OR REPLACE TABLE candidates AS
        WITH own AS (FROM bought WHERE no BETWEEN $first AND $last),
        history AS (
            SELECT no, item, ln(1 + times) AS weight FROM own
            QUALIFY row_number() OVER (PARTITION BY no ORDER BY times DESC, last_bought DESC, item) <= $history),
        scored AS (
            SELECT no, two AS item, round(sum(weight * closeness), 9) AS score
            FROM history JOIN neighbours ON history.item = one GROUP BY no, two),
        best_sellers AS (
            SELECT no, item, 0 AS score FROM active CROSS JOIN (SELECT item FROM items WHERE item <= $best)
            WHERE no BETWEEN $first AND $last)
        SELECT no, item, max(score)::FLOAT AS score FROM (FROM scored UNION ALL FROM best_sellers)
        ANTI JOIN own USING (no, item)
        GROUP BY no, item""",
        {"first": first, "last": first + USERS_AT_A_TIME - 1, "history": HISTORY, "best": 2 * slots + 50},
    )


def _choose(connection: duckdb.DuckDBPyConnection, types: Sequence[RecommendationType]) -> None:
    connection.execute("CREATE OR REPLACE TABLE chosen (no INTEGER, type INTEGER, rank INTEGER, item INTEGER)")
    for number, each in enumerate(types):
        connection.execute(
            f"""INSERT INTO chosen
            SELECT no, $type, row_number() OVER (PARTITION BY no ORDER BY {_ORDER[each.algorithm]}) AS rank, item
            FROM candidates ANTI JOIN chosen USING (no, item)
            QUALIFY rank <= $slots""",
            {"type": number, "slots": each.slots},
        )
    connection.execute("""INSERT INTO lists
        SELECT no, type, rank, identity FROM chosen JOIN items USING (item) ORDER BY no, type, rank""")
