"""A batch becomes parts on disk: against an empty loop over the same XML, pandas, and the same rows as JSON."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import Case, Measurement, Row, at_most, faster, measure, workplace

HERE = "benchmarks.bench_recommendations"
MEMORY_MB = 500


def run(quick: bool) -> list[Row]:
    users = 2_000 if quick else 180_000
    with workplace("recommendations") as folder:
        made = {form: str(folder / form) for form in ("xml", "lines", "array")}
        measure({"data": Case(f"{HERE}:make", {"folders": made, "users": users})}, 1)
        raw = str(folder / "xml" / "raw.xml")
        cases = {
            form: Case(f"{HERE}:parse", {"batch": batch}, _outputs(batch), ["include.recommendations.parse"])
            for form, batch in made.items()
        }
        cases["empty loop"] = Case(f"{HERE}:empty_loop", {"raw": raw}, imports=["lxml.etree"])
        found = measure(cases, 1 if quick else 3)
        pandas = measure({"pandas": Case(f"{HERE}:pandas_loop", {"raw": raw}, imports=["pandas", "lxml.etree"])}, 1)
    ours, rows = found["xml"], found["xml"].result["rows"]
    assert {found[form].result["rows"] for form in made} == {rows, pandas["pandas"].result}, "not the same rows"
    what = f"XML of {found['xml'].result['mb']:,.0f} MB, {rows:,} rows, to parts"
    table = [
        at_most(what, ours, "empty lxml iterparse loop", found["empty loop"], 1.6, "the peer builds nothing"),
        faster(what, ours, "pandas.read_xml(iterparse=...)", pandas["pandas"], 6, "the peer writes nothing, run once"),
    ]
    for form, name in (("lines", "JSON, an object a line"), ("array", "JSON, one array")):
        table.append(faster(f"{name}, same rows", found[form], "the XML", ours, 1))
    return [*table, *(_memory(f"memory, {form}", found[form]) for form in made)]


def _memory(name: str, measured: Measurement) -> Row:
    peak = measured.result["memory_mb"]
    goal = f"≤ {MEMORY_MB} MB"
    return Row(name, measured.seconds, "", None, None, goal, peak <= MEMORY_MB, peak, "all processes together")


def _outputs(batch: str) -> list[str]:
    return [f"{batch}/{name}" for name in ("recommendations", "default.parquet", "manifest.json")]


def make(folders: dict[str, str], users: int) -> None:
    """The same users as XML (one a line), as JSON lines and as one JSON array: 8 products each, and the default set."""
    import random
    from xml.sax.saxutils import escape

    chance = random.Random(7)
    for folder in folders.values():
        Path(folder).mkdir(parents=True)
    with (
        (Path(folders["xml"]) / "raw.xml").open("w", encoding="utf-8") as xml,
        (Path(folders["lines"]) / "raw.json").open("w", encoding="utf-8") as lines,
        (Path(folders["array"]) / "raw.json").open("w", encoding="utf-8") as array,
    ):
        xml.write('<?xml version="1.0" encoding="UTF-8"?>\n<users>\n')
        for number in range(users + 1):
            user = f"customer-{number:09d}" if number else "default"
            products = [_product(chance.randrange(50_000), chance) for _ in range(8)]
            results = "".join(
                "<result>" + "".join(f"<{key}>{escape(text)}</{key}>" for key, text in product.items()) + "</result>"
                for product in products
            )
            xml.write(
                f"<user><auth_user_id>{user}</auth_user_id><data><_metadata><updated_at>2026-11-20T10:00:00</updated_at>"
                "</_metadata><recommendations><recommendation><recommendation_type>mail-basket</recommendation_type>"
                f"<results>{results}</results></recommendation></recommendations></data></user>\n"
            )
            line = json.dumps({"id": user, "data": {"mail-basket": products}}, ensure_ascii=False)
            lines.write(line + "\n")
            array.write(f"{', ' if number else '['}{line}")
        xml.write("</users>\n")
        array.write("]\n")


def _product(number: int, chance: Any) -> dict[str, str]:
    tail = f"utm_source=newsletter&recommendation_id={chance.getrandbits(128):032x}"
    return {
        "id": f"p{100_000 + number}",
        "url": f"https://www.shop.example/products/{100_000 + number}-some-product-name-{number}?{tail}",
        "title": f"Product title number {number} with a few words & more",
        "image_link": f"https://cdn.shop.example/images/{number % 997}/{100_000 + number}_large.jpg",
    }


def parse(batch: str) -> dict[str, Any]:
    from include.publishers.batches import LinkBatch as Batch
    from include.recommendations.parse import parse_batch

    with _watched() as peak:
        manifest = parse_batch(Path(batch), Batch(link="https://shop.example/batch", parts=8))
    return {
        "rows": manifest["rows"] + manifest["default"]["rows"],
        "mb": manifest["bytes"] / 1e6,
        "memory_mb": peak(),
    }


@contextmanager
def _watched(pause: float = 0.05) -> Iterator[Callable[[], float]]:
    """Look at the resident memory of this process and its children together, again and again."""
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(pause):
            peak[0] = max(peak[0], sum(map(_resident_mb, [os.getpid(), *_children()])))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: peak[0]
    finally:
        over.set()
        thread.join()


def _children() -> list[int]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def _resident_mb(process: int) -> float:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def empty_loop(raw: str) -> int:
    from lxml import etree

    users = 0
    for _, user in etree.iterparse(raw, tag="user"):
        users += 1
        user.clear()
        while user.getprevious() is not None:
            del user.getparent()[0]
    return users


def pandas_loop(raw: str) -> int:
    import pandas as pd

    return len(pd.read_xml(raw, iterparse={"result": ["id", "url", "title", "image_link"]}, parser="lxml"))
