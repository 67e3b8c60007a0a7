"""What was accepted, row by row and upload by upload."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import requests

COLUMNS = ["upload", "session_id", "identity", "user_id", "bought_at"]
FILES = "/v1/interactions/1234-5678/files"


def sessions(client: Any, query: str = "") -> requests.Response:
    answer: requests.Response = client.session.get(f"{client.url}/_sandbox/sessions{query}", timeout=60)
    return answer


def rows(client: Any) -> list[tuple[str | None, ...]]:
    return [tuple(json.loads(line).values()) for line in sessions(client).text.splitlines()]


def test_nothing_was_accepted_yet(client: Any) -> None:
    answer = sessions(client)
    assert (answer.status_code, answer.text, answer.headers["Sandbox-Processing"]) == (200, "", "0")
    table = pq.read_table(io.BytesIO(sessions(client, "?format=parquet").content))
    assert (table.column_names, table.num_rows) == (COLUMNS, 0)


def test_rows_of_accepted_uploads_in_their_order(client: Any) -> None:
    client.send_purchases([("s2", "p1", "u1", "2024-01-02 03:04:05.6"), ("s2", "p2")])
    client.send_purchases([("s3", "p1"), ("", "p1")])  # cancelled as a whole
    client.send_purchases([("s1", "p\u2028'é", "u'2", "2024-01-02 03:04:05")])
    client.send_users(["u1"])
    expected = [
        ("000001", "s2", "p1", "u1", "2024-01-02 03:04:05.600000"),
        ("000001", "s2", "p2", None, None),
        ("000003", "s1", "p\u2028'é", "u'2", "2024-01-02 03:04:05.000000"),
    ]
    answer = sessions(client)
    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    assert [tuple(json.loads(line).values()) for line in answer.content.decode().split("\n") if line] == expected
    table = pq.read_table(io.BytesIO(sessions(client, "?format=parquet").content))
    assert table.column_names == COLUMNS
    assert [tuple(row.values()) for row in table.to_pylist()] == expected
    assert list((client.sandbox.state / "incoming").iterdir()) == []


def test_it_waits_for_what_is_still_processed(client: Any) -> None:
    lines = "".join(f'{{"session_id": "s{number}", "identity": "p"}}\n' for number in range(100_000))
    for _ in range(3):
        assert client.send(FILES, "purchases.json", lines).ok
    answer = sessions(client)
    assert (answer.headers["Sandbox-Processing"], answer.text.count("\n")) == ("0", 300_000)


def test_it_says_how_many_could_not_be_processed(client: Any) -> None:
    (client.sandbox.state / "transactions").rmdir()  # so that the background job fails
    assert client.send(FILES, "purchases.json", '{"session_id": "s", "identity": "p"}\n').ok
    answer = sessions(client)
    assert (answer.headers["Sandbox-Processing"], answer.text) == ("1", "")


def test_an_unknown_format(client: Any) -> None:
    answer = sessions(client, "?format=xml")
    assert (answer.status_code, "ndjson" in answer.json()["reason"]) == (422, True)


def test_a_folder_with_a_quote_in_its_name(start: Callable[..., Any], tmp_path: Path) -> None:
    client = start(tmp_path / "o'clock")
    client.send_purchases([("s1", "p1")])
    assert rows(client) == [("000001", "s1", "p1", None, None)]
    with duckdb.connect() as connection:
        target = tmp_path / "rows.parquet"
        target.write_bytes(sessions(client, "?format=parquet").content)
        assert connection.execute("SELECT count(*) FROM read_parquet(?)", [str(target)]).fetchone() == (1,)
