"""The studies of growth run at small sizes; exponents, tables and plots say what was measured."""

import json
import re
import time
from contextlib import contextmanager
from importlib import import_module
from xml.etree import ElementTree

import pytest

from benchmarks.harness import Measurement
from benchmarks.scale import __main__ as command
from benchmarks.scale.curves import Point, exponent
from benchmarks.scale.page import replace, short, table
from benchmarks.scale.plot import plot

POINTS = [Point("build", size, size / 1e6, size / 2e6, 500) for size in (1_000_000, 2_000_000, 5_000_000)]


@pytest.mark.parametrize("power", [0, 0.5, 1, 2])
def test_the_exponent_of_a_power_is_found(power):
    sizes = [1e6, 2e6, 5e6, 1e7]
    found = exponent(sizes, [3 * size**power for size in sizes])
    assert found.k == pytest.approx(power)
    assert found.plus_minus == pytest.approx(0, abs=1e-6)


def test_noise_widens_the_exponents_interval():
    found = exponent([1, 2, 4, 8], [1, 2.4, 3.6, 8.2])
    assert found.k == pytest.approx(0.98, abs=0.02)
    assert 0.1 < found.plus_minus < 1


def test_one_size_has_no_exponent():
    assert exponent([5], [1]) is None


def test_a_table_says_seconds_memory_and_growth():
    text = table(POINTS, "ids")
    assert "| ids | 1 M | 2 M | 5 M | seconds as n^ | cpu as n^ | memory as n^ |" in text
    assert "2.0 s, cpu 1.0 s, 500 MB" in text
    assert "| 1.00 ± 0.00 | 1.00 ± 0.00 | 0.00 ± 0.00 |" in text


@pytest.mark.parametrize(("number", "text"), [(4, "4"), (1500, "1.5 k"), (2_000_000, "2 M"), (1e9, "1 G")])
def test_numbers_are_short(number, text):
    assert short(number) == text


def test_a_plot_is_svg_with_a_dot_for_each_figure():
    picture = ElementTree.fromstring(plot("A < B", "ids", POINTS))
    dots = [dot for dot in picture.iter("{http://www.w3.org/2000/svg}circle") if dot.get("r") == "3.5"]
    assert len(dots) == 3 * len(POINTS)


def test_a_rerun_replaces_only_its_own_place(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- scale:x -->\nold\n<!-- /scale:x -->\nb\n<!-- scale:y -->\nkept\n<!-- /scale:y -->\n")
    replace(page, "x", "new \\1")
    assert page.read_text().split("\n")[1:4] == ["<!-- scale:x -->", "new \\1", "<!-- /scale:x -->"]
    assert "old" not in page.read_text()
    assert "kept" in page.read_text()
    with pytest.raises(ValueError, match="no place for the study z"):
        replace(page, "z", "")


@pytest.fixture
def in_process(monkeypatch, tmp_path):
    """Studies run in this process and below ``tmp_path``: what they do is tested, not how long it takes."""

    def measure(cases, repeats):
        found = {}
        for name, case in cases.items():
            module, function = case.target.split(":")
            started = time.perf_counter()
            result = getattr(import_module(module), function)(**json.loads(json.dumps(case.arguments)))
            found[name] = Measurement(time.perf_counter() - started, 100, json.loads(json.dumps(result)), 0.1)
        return found

    @contextmanager
    def workplace(name):
        folder = tmp_path / name / str(time.monotonic_ns())
        folder.mkdir(parents=True)
        yield folder

    for study in command.STUDIES:
        module = import_module(f"benchmarks.scale.{study}")
        monkeypatch.setattr(module, "measure", measure)
        monkeypatch.setattr(module, "workplace", workplace)


@pytest.mark.parametrize(
    ("study", "stages"),
    [
        ("transactions", ["build", "ledger: claim", "ledger: compare"]),
        ("batch", ["fetch", "parse", "reconcile"]),
        ("parts", ["parse", "reconcile", "deliver", "deliver, longest part"]),
    ],
)
def test_a_study_runs_and_its_results_go_into_the_page(study, stages, in_process, tmp_path, capsys, monkeypatch):
    page = tmp_path / "docs" / "scaling.md"
    page.parent.mkdir()
    page.write_text(f"before\n<!-- scale:{study} -->\nold\n<!-- /scale:{study} -->\nafter\n")
    sizes = import_module(f"benchmarks.scale.{study}").QUICK
    if study == "parts":
        monkeypatch.setattr("benchmarks.scale.parts.USERS", 50)
    assert command.main([f"{study}={','.join(map(str, sizes))}"], page) == 0
    told = page.read_text()
    assert re.findall(r"^\| ([^|]+?) \| [\d.]+ s, cpu", told, re.MULTILINE) == stages
    assert told.startswith("before\n")
    assert told.endswith("after\n")
    assert "old" not in told
    ElementTree.parse(page.parent / "scaling" / f"{study}.svg")
    assert stages[0] in capsys.readouterr().out


def test_the_command_names_a_study_that_is_not_there(capsys):
    with pytest.raises(SystemExit):
        command.main(["users=1e6"])
    assert "no study 'users'; known are audience, transactions" in capsys.readouterr().err


def test_every_study_has_its_place_in_the_docs():
    page = command.PAGE.read_text("utf-8")
    assert re.findall(r"<!-- scale:(\w+) -->", page) == list(command.STUDIES)
