"""A callable of one's own gets a part, and mistakes name it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from include.deliveries.custom import folder_for, run_callable
from include.errors import ConfigError, PipelineError

FRAME = pd.DataFrame({"recipient": ["a", "a", "b"], "rank": [1, 2, 1]})
SOURCE = """
import wished_for_by_nobody_yet
"""
MODULE = """
def count(frame, context):
    return len(frame.groupby("recipient"))

def write(frame, context):
    frame.to_csv(context["out"] + "/mine.csv")

def fail(frame, context):
    raise KeyError("price")

def answer(frame, context):
    return context["answer"]

not_callable = 5
"""


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    (tmp_path / "my_shop").mkdir()
    (tmp_path / "my_shop" / "deliver.py").write_text(MODULE)
    (tmp_path / "my_shop" / "broken.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield {"publisher": "shop", "batch": "x", "part": 2, "delivery": "mine", "out": str(tmp_path)}
    for name in [name for name in sys.modules if name.startswith("my_shop")]:
        del sys.modules[name]


@pytest.mark.parametrize("dotted", ["my_shop.deliver.count", "my_shop.deliver:count"])
def test_it_says_how_many_rows(dotted: str, context: dict[str, Any]) -> None:
    assert run_callable(dotted, FRAME, context) == 2


def test_none_means_all_rows(context: dict[str, Any], tmp_path: Path) -> None:
    assert run_callable("my_shop.deliver:write", FRAME, context) == 3
    assert (tmp_path / "mine.csv").exists()


@pytest.mark.parametrize("place", ["staging", "s3_staging"])
def test_its_files_lie_in_the_folder_of_the_delivery(
    place: str, context: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    out = request.getfixturevalue(place) / "shop" / "deliveries" / "x" / "mine"

    def deliver(name: str) -> None:
        with folder_for(out) as folder:
            (folder / "more").mkdir(exist_ok=True)
            (folder / "more" / f"{name}.txt").write_text(name)
            run_callable(f"my_shop.deliver:{name}", FRAME, {**context, "out": str(folder)})

    with pytest.raises(KeyError):
        deliver("fail")
    deliver("write")
    deliver("write")
    assert (out / "mine.csv").read_text() == FRAME.to_csv()
    assert (out / "more" / "write.txt").read_text() == "write"
    assert (out / "more" / "fail.txt").exists() == (place == "staging")


@pytest.mark.parametrize(
    ("dotted", "sentence"),
    [
        ("my_shop.nowhere.count", "there is no module my_shop.nowhere"),
        ("nowhere_at_all.count", "there is no module nowhere_at_all"),
        ("my_shop.deliver.nothing", "has no callable nothing"),
        ("my_shop.deliver:not_callable", "has no callable not_callable"),
    ],
)
def test_a_wrong_path_is_a_mistake_in_the_settings(dotted: str, sentence: str, context: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        run_callable(dotted, FRAME, context)
    assert dotted in str(caught.value)


def test_a_missing_library_of_its_own_is_not_hidden(context: dict[str, Any]) -> None:
    with pytest.raises(ModuleNotFoundError, match="wished_for_by_nobody_yet"):
        run_callable("my_shop.broken.count", FRAME, context)


def test_its_own_error_comes_through_with_the_part(context: dict[str, Any]) -> None:
    with pytest.raises(KeyError) as caught:
        run_callable("my_shop.deliver.fail", FRAME, context)
    assert caught.value.__notes__ == ["delivery mine: raised by my_shop.deliver.fail in part 2"]


@pytest.mark.parametrize("answer", ["3", 2.5, True, -1])
def test_an_answer_that_is_no_count(answer: Any, context: dict[str, Any]) -> None:
    with pytest.raises(PipelineError, match="must return None or how many rows"):
        run_callable("my_shop.deliver.answer", FRAME, {**context, "answer": answer})
