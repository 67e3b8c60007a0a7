"""What Luigi's Box's own integration does in Klaviyo: it writes recommendations into properties of the profiles.

Who gets some, and which, follows from the profile's place and the publication's number: the same again is the same.
"""

import json
import sqlite3
from typing import Any

from include.sandbox.klaviyo.database import AccountDatabase, now_text

_MIXER = 2_654_435_761
_CHUNK = 5_000
_PRODUCTS = 500


def publish(
    database: AccountDatabase, types: dict[str, int], share: int, portion: int, number: int | None
) -> dict[str, Any]:
    """Write a publication into the profiles that have an external id, and into that of ``default``.

    Args:
        database: the account.
        types: recommendation types and how many products each holds.
        share: percent of the profiles that get recommendations at all.
        portion: percent of those that are written now; the rest keep what they have.
        number: of the publication, to go on with one that was half written; None: a new one.

    Returns:
        ``number``, ``profiles`` written, ``published_at``.
    """
    with database.writing() as connection:
        last = connection.execute("SELECT coalesce(max(number), 0) FROM publications").fetchone()[0]
        number = number or last + 1
        moment = now_text()
        connection.execute("INSERT OR REPLACE INTO publications VALUES (?, ?)", [number, moment])
        written, after = 0, 0
        while rows := _chunk(connection, after):
            after = rows[-1]["n"]
            chosen = [row for row in rows if _is_chosen(row, share, portion)]
            changes = [(_properties(row, types, number), moment, row["n"]) for row in chosen]
            connection.executemany("UPDATE profiles SET properties = ?, updated = ? WHERE n = ?", changes)
            written += len(chosen)
    return {"number": number, "profiles": written, "published_at": moment}


def _chunk(connection: sqlite3.Connection, after: int) -> list[sqlite3.Row]:
    query = "SELECT * FROM profiles WHERE n > ? AND external_id <> '' ORDER BY n LIMIT ?"
    return connection.execute(query, [after, _CHUNK]).fetchall()


def _is_chosen(row: sqlite3.Row, share: int, portion: int) -> bool:
    if row["external_id"] == "default":
        return True
    mixed = int(row["n"]) * _MIXER
    return (mixed >> 8) % 100 < share and (mixed >> 17) % 100 < portion


def _properties(row: sqlite3.Row, types: dict[str, int], number: int) -> str:
    properties = json.loads(row["properties"])
    for place, (kind, slots) in enumerate(types.items()):
        first = row["n"] * 7 + number * 13 + place * 31
        recommendation = f"{number}-{row['n']}-{place}"
        properties[kind] = [_product((first + slot) % _PRODUCTS, recommendation) for slot in range(slots)]
    return json.dumps(properties, ensure_ascii=False)


def _product(product: int, recommendation: str) -> dict[str, str]:
    return {
        "id": f"p{product}",
        "url": f"https://shop.example.com/p{product}?recommendation_id={recommendation}&utm_source=newsletter",
        "title": f"Product {product}",
        "image_link": f"https://shop.example.com/images/p{product}.jpg",
    }
