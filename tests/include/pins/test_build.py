"""From lines and rows to parts of a call: order, grouping, books, and files that cannot be trusted."""

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.errors import BadInput
from include.extract import write_rows
from include.pins.build import build_pins
from include.pins.parts import read_parts
from include.pins.rows import OPTIONAL, REQUIRED
from include.publishers.senders import Pins
from include.staging import PROJECT_ROOT, write_json

ALL = Pins(files="x", refuse_reject_percent=100)


def scope(name: str = "p1", **more: Any) -> dict[str, Any]:
    pin = {"pin_type": "item", "pin_identity": "p9", "position": 1}
    return {"model": "basket", "target_type": "item", "target_identity": name, "pin_definitions": [pin], **more}


def stage(run: Path, *files: bytes, ending: str = ".ndjson") -> Path:
    raw = run / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, content in enumerate(files):
        name = f"scopes-{number:05d}{ending}"
        (raw / name).write_bytes(content)
        entries.append({"name": f"file{number}{ending}", "staged": name})
    write_json(raw / "files.json", {"files": entries})
    return run


def stage_rows(run: Path, rows: Sequence[dict[str, Any]]) -> Path:
    columns = [*REQUIRED, *OPTIONAL]
    values = [[row.get(name) for name in columns] for row in rows]
    write_rows([values], columns, REQUIRED, OPTIONAL, run / "raw", 0)
    return run


def text(*scopes: Any) -> bytes:
    return "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in scopes).encode()


def rejects(run: Path) -> list[tuple[str, str | None, str, str]]:
    table = pq.read_table(run / "rejects.parquet").to_pylist()
    return [(row["file"], row["line"], row["reason"], row["detail"]) for row in table]


def sent(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted((run / "chunks").glob("*")) for line in path.read_text().splitlines()]


def contents(run: Path) -> dict[str, bytes]:
    names = [path for path in run.rglob("*") if path.is_file() and "raw" not in path.parts]
    return {str(path.relative_to(run)): path.read_bytes() for path in names}


def test_lines_keep_their_order_and_their_numbers(tmp_path: Path) -> None:
    first = b"\xef\xbb\xbf" + text(scope("a"), "", "   ", scope("b")).replace(b"\n", b"\r\n")
    run = stage(tmp_path, first, text(scope("c"), scope("d"), scope("e")).rstrip())
    manifest = build_pins(run, Pins(files="x", scopes_per_call=2))
    assert [each["target_identity"] for each in sent(run)] == ["a", "b", "c", "d", "e"]
    assert [chunk["rows"] for chunk in manifest["chunks"]] == [2, 2, 1]
    lines = pq.read_table(run / "lines.parquet").to_pylist()
    assert [(row["part"], row["place"], row["file"], row["line"]) for row in lines] == [
        (0, 0, "file0.ndjson", 1),
        (0, 1, "file0.ndjson", 4),
        (1, 0, "file1.ndjson", 1),
        (1, 1, "file1.ndjson", 2),
        (2, 0, "file1.ndjson", 3),
    ]
    assert manifest["books"] == {"extracted": 5, "rejected": 0, "duplicates": 0, "uploaded": 5}


def test_what_is_sent_twice_is_told_apart_from_what_contradicts_itself(tmp_path: Path) -> None:
    reordered = dict(reversed(scope("same").items()))
    run = stage(
        tmp_path,
        text(scope("same"), scope("two"), reordered, scope("two", tags=["x"]), scope("two"), scope("other")),
    )
    manifest = build_pins(run, ALL)
    assert [each["target_identity"] for each in sent(run)] == ["same", "other"]
    assert sorted(rejects(run), key=lambda row: int(row[1] or 0)) == [
        ("file0.ndjson", "2", "scope_twice", _TWICE),
        ("file0.ndjson", "3", "duplicate", "repeats file0.ndjson line 1"),
        ("file0.ndjson", "4", "scope_twice", _TWICE),
        ("file0.ndjson", "5", "duplicate", "repeats file0.ndjson line 2"),
    ]
    assert manifest["books"] == {"extracted": 6, "rejected": 2, "duplicates": 2, "uploaded": 2}


_TWICE = "one scope with different content in file0.ndjson line 2, file0.ndjson line 4; none of them is sent"


def test_a_line_that_is_too_large_is_passed_over(tmp_path: Path) -> None:
    huge = json.dumps(scope("huge", target_metadata={"x": "y" * 3_000_000}))
    just = scope("just", target_metadata={"x": "y" * (1_000_000 - 400)})
    run = stage(tmp_path, text(scope("a"), huge, scope("b"), just, huge))
    build_pins(run, ALL)
    assert [each["target_identity"] for each in sent(run)] == ["a", "b", "just"]
    assert [(line, reason) for _, line, reason, _ in rejects(run)] == [("2", "too_large"), ("5", "too_large")]


def test_a_gzipped_file_is_read_and_half_of_one_is_not(tmp_path: Path) -> None:
    random.seed(7)
    packed = gzip.compress(text(*(scope(random.randbytes(9).hex()) for _ in range(500))))
    assert build_pins(stage(tmp_path / "whole", packed, ending=".ndjson.gz"), ALL)["scopes"] == 500
    for broken in (packed[: len(packed) // 2], b"PK" + packed, packed[:-4] + b"1234"):
        run = stage(tmp_path / "broken", packed, broken, ending=".ndjson.gz")
        with pytest.raises(BadInput, match="half a file must not pass for a whole one"):
            build_pins(run, ALL)
        assert not (run / "manifest.json").exists()


def test_too_many_rejects_stop_the_run_and_say_where_to_look(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = stage(tmp_path, text(scope("a"), "{", "{}", scope("b"), scope("c")))
    with pytest.raises(BadInput, match=r"2 of 5 lines were rejected \(missing_field 1, not_json 1\)"):
        build_pins(run, Pins(files="x", refuse_reject_percent=39))
    assert not (run / "manifest.json").exists()
    assert len(rejects(run)) == 2
    assert "file0.ndjson line 2: not_json (" in caplog.text
    assert "file0.ndjson line 3: missing_field (" in caplog.text
    assert build_pins(run, Pins(files="x", refuse_reject_percent=40))["scopes"] == 3


def test_nothing_at_all_is_nothing_to_send(tmp_path: Path) -> None:
    manifest = build_pins(stage(tmp_path, b"", b"\n\n"), ALL)
    assert (manifest["scopes"], manifest["chunks"]) == (0, [])
    assert list(read_parts(tmp_path, manifest)) == []


def test_a_part_that_was_changed_is_not_read(tmp_path: Path) -> None:
    manifest = build_pins(stage(tmp_path, text(scope("a"))), ALL)
    [part] = read_parts(tmp_path, manifest)
    assert json.loads(part.lines[0]) == scope("a")
    (tmp_path / "chunks/pins-00000.ndjson").write_bytes(text(scope("b")))
    with pytest.raises(BadInput, match="not what the manifest lists"):
        list(read_parts(tmp_path, manifest))


def row(target: str, pin: Any, **more: Any) -> dict[str, Any]:
    head = {"model": "basket", "target_type": "item", "target_identity": target}
    return {**head, "pin_type": "item", "pin_identity": pin, "position": "1", **more}


def test_rows_of_one_scope_become_one_line(tmp_path: Path) -> None:
    criteria = {"model": "m", "target_type": "criteria", "pin_type": "item", "pin_identity": "x"}
    run = stage_rows(
        tmp_path,
        [
            row("a", "1"),
            row("b", "1", tags="x, y"),
            row("a", "2", position=-1),
            criteria | {"target_criteria": '{"k": [1], "l": 2}'},
            row("b", "2", tags="x,y", position=""),
            criteria | {"target_criteria": '{ "l":2, "k":[1] }', "pin_identity": "y"},
            row("a", "1"),
        ],
    )
    manifest = build_pins(run, ALL)
    assert [(each.get("target_identity"), len(each["pin_definitions"])) for each in sent(run)] == [
        ("a", 2),
        ("b", 2),
        (None, 2),
    ]
    assert sent(run)[0]["pin_definitions"][1] == {"position": -1, "pin_type": "item", "pin_identity": "2"}
    assert "position" not in sent(run)[1]["pin_definitions"][1]
    assert manifest["books"] == {"extracted": 7, "rejected": 0, "duplicates": 1, "uploaded": 6}
    assert [each["rows"] for each in pq.read_table(run / "lines.parquet").to_pylist()] == [2, 2, 2]


def test_a_scope_goes_whole_or_not_at_all(tmp_path: Path) -> None:
    run = stage_rows(
        tmp_path,
        [
            row("a", "1"),
            row("b", "1"),
            row("a", "2", position="first", tags="t" * 2_000),
            row("c", "1", tags="x"),
            row("c", "2", tags="y"),
            row("d", "1", target_criteria="{"),
            row("", "1"),
        ],
    )
    build_pins(run, ALL)
    assert [each["target_identity"] for each in sent(run)] == ["b"]
    assert sorted((line, reason) for _, line, reason, _ in rejects(run)) == [
        ("1", "with_another_row"),
        ("3", "bad_position"),
        ("4", "rows_disagree"),
        ("5", "rows_disagree"),
        ("6", "not_json"),
        ("7", "missing_field"),
    ]


@pytest.mark.parametrize("wrong", [{"tags": "[broken"}, {"target_metadata": "{"}, {"tags": b"\xff"}])
def test_a_row_takes_its_scope_with_it_whatever_is_wrong_in_it(tmp_path: Path, wrong: dict[str, Any]) -> None:
    run = stage_rows(tmp_path, [row("a", "1"), row("b", "1"), row("a", "2", **wrong)])
    build_pins(run, ALL)
    assert [each["target_identity"] for each in sent(run)] == ["b"]
    assert "with_another_row" in {reason for _, _, reason, _ in rejects(run)}


def test_a_row_whose_target_cannot_be_read_takes_every_scope_that_it_may_belong_to(tmp_path: Path) -> None:
    def criteria(text: str, model: str = "m") -> dict[str, Any]:
        return {**row("", "x"), "model": model, "target_type": "criteria", "target_criteria": text}

    run = stage_rows(tmp_path, [criteria('{"a": 1}'), row("a", "1"), criteria('{"a": '), criteria('{"a": 1}', "n")])
    build_pins(run, ALL)
    assert [(each["model"], each["target_type"]) for each in sent(run)] == [("basket", "item"), ("n", "criteria")]
    assert sorted((line, reason, detail[:40]) for _, line, reason, detail in rejects(run)) == [
        ("1", "with_another_row", "row 3, whose target cannot be read, may b"[:40]),
        ("3", "not_json", "target_criteria: is not JSON: Expecting v"[:40]),
    ]


def test_memory_follows_no_length_of_lines(tmp_path: Path) -> None:
    lines = text(*(scope(f"p{number}", target_metadata={"x": "y" * 900_000}) for number in range(70)))
    run = stage(tmp_path, lines)
    code = (
        "import resource, sys; from pathlib import Path; from include.pins.build import build_pins; "
        "from include.publishers.senders import Pins; before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "build_pins(Path(sys.argv[1]), Pins(files='x')); "
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, run], capture_output=True, text=True, check=True, cwd=PROJECT_ROOT
    )
    assert int(done.stdout) < 200  # MB; the lines alone are 63
    assert len(sent(run)) == 70
    assert len(list((run / "chunks").iterdir())) == 1


def test_rows_that_could_not_be_read_are_counted(tmp_path: Path) -> None:
    run = stage_rows(tmp_path, [row("a", "1"), row("b", b"\xff")])
    manifest = build_pins(run, ALL)
    assert manifest["reasons"] == {"not_utf8": 1}
    assert manifest["books"]["extracted"] == 2


def test_rows_that_were_not_staged_to_their_end_are_not_built(tmp_path: Path) -> None:
    run = stage_rows(tmp_path, [row("a", "1")])
    (run / "raw/part-00000.json").unlink()
    with pytest.raises(BadInput, match="half of the pins would pass for all"):
        build_pins(run, ALL)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["", "t", "u"]), st.booleans()), max_size=25),
    st.integers(1, 4),
)
def test_every_line_is_sent_or_refused_once_and_the_same_input_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, wishes: list[tuple[str, str, bool]], per_call: int
) -> None:
    lines = [scope(name, tags=[tag] if tag else []) if right else "{" for name, tag, right in wishes]
    chosen = Pins(files="x", scopes_per_call=per_call, refuse_reject_percent=100)
    runs = [stage(tmp_path_factory.mktemp("run"), text(*lines)) for _ in range(2)]
    manifest = build_pins(runs[0], chosen)
    build_pins(runs[1], chosen)
    assert contents(runs[0]) == contents(runs[1])
    numbers = [int(line or 0) for _, line, _, _ in rejects(runs[0])]
    numbers += [each["line"] for each in pq.read_table(runs[0] / "lines.parquet").to_pylist()]
    assert sorted(numbers) == list(range(1, len(lines) + 1))
    assert all(chunk["rows"] <= per_call for chunk in manifest["chunks"])
    contents_of = {name: {tag for found, tag, right in wishes if right and found == name} for name in "abcdef"}
    assert {each["target_identity"] for each in sent(runs[0])} == {
        n for n, tags in contents_of.items() if len(tags) == 1
    }


def test_many_rows_go_through_on_disk(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    with duckdb.connect() as connection:
        connection.execute(
            f"""COPY (SELECT 'basket' AS model, 'item' AS target_type, 'item' AS pin_type, 'p' || (i % 2100)
            AS target_identity, 'q' || i AS pin_identity, {
                ", ".join(
                    f"NULL::VARCHAR AS {name}" for name in OPTIONAL if name not in ("target_identity", "pin_identity")
                )
            } FROM range(4200) t(i))
            TO '{raw}/part-00000.parquet' (FORMAT parquet)"""
        )
        connection.execute(f"COPY (SELECT 'x' AS reason WHERE false) TO '{raw}/refused-00000.parquet' (FORMAT parquet)")
    write_json(raw / "part-00000.json", {"rows": 4_200, "refused": 0, "complete": True, "columns": []})
    manifest = build_pins(tmp_path, Pins(files="x", scopes_per_call=1_500))
    assert manifest["scopes"] == 2_100
    assert manifest["books"]["uploaded"] == 4_200
    assert [chunk["rows"] for chunk in manifest["chunks"]] == [1_500, 600]
