"""Where things lie and how they are written: all or nothing, nowhere else."""

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include import staging
from include.errors import BadInput, ConfigError


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b", "/a/b"),
        ("file://localhost/a", "/a"),
        ("/a/b c", "/a/b c"),
        ("file:///a%20b/%C5%BE", "/a b/ž"),
    ],
)
def test_paths_of_uris(uri: str, path: str) -> None:
    assert staging.to_path(uri) == Path(path)


@pytest.mark.parametrize("uri", ["file://host/a", "a/b", "", "https://a"])
def test_other_uris_are_refused_with_what_is_allowed(uri: str) -> None:
    with pytest.raises(ConfigError, match="allowed are file:///absolute/folder"):
        staging.to_path(uri)


def test_the_staging_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGING_URI", tmp_path.as_uri())
    assert staging.staging_root() == tmp_path
    monkeypatch.setenv("STAGING_URI", "")
    assert staging.staging_root() == staging.PROJECT_ROOT / "staging"
    monkeypatch.setattr(staging, "PROJECT_ROOT", tmp_path)  # as in a plain install: no checkout around
    with pytest.raises(ConfigError, match="STAGING_URI is not set"):
        staging.staging_root()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("scheduled__2026-03-01T12:00:00+00:00", "scheduled__2026-03-01T12-00-00-00-00"),
        ("manual_1.2", "manual_1.2"),
        ("manual__2026-03-01T12:00:00.5+00:00_aB3", "manual__2026-03-01T12-00-00.5-00-00_aB3"),
    ],
)
def test_usual_run_ids_stay_readable(text: str, name: str) -> None:
    assert staging.slug(text) == name


@given(st.lists(st.text(st.characters(), max_size=6) | st.sampled_from(["..", ".", "", "/", "a/../b"]), unique=True))
def test_unusual_run_ids_are_safe_and_differ(texts: list[str]) -> None:
    names = [staging.slug(text) for text in texts]
    assert len({name.casefold() if name.islower() else name for name in names}) == len(names)
    for name in names:
        assert name
        assert Path("/root") / name == Path(os.path.normpath(f"/root/{name}"))
        assert Path("/root", name).parent == Path("/root")


def test_run_ids_that_look_alike_do_not_share_a_folder() -> None:
    alike = [f"x{mark}1" for mark in ":+-"] + [f"t2026-03-01T12:00:00{zone}" for zone in ("+01:00", "-01:00", "+00:00")]
    alike += ["t2026-03-01T12-00-00-00-00", "t2026-03-01T12-00-00-01-00"]
    assert len({staging.slug(text) for text in alike}) == len(alike)


def test_long_run_ids_fit_a_file_system(tmp_path: Path) -> None:
    for length in (199, 200, 201, 5000):
        (tmp_path / staging.slug("x" * length)).mkdir()


def test_run_folder() -> None:
    folder = staging.run_folder(Path("/s"), "shop", "audience", "manual__12")
    assert folder == Path("/s/shop/audience/manual__12")


def test_utc_text_has_one_spelling() -> None:
    prague = timezone(timedelta(hours=2))
    assert staging.utc_text(datetime(2026, 7, 1, 12, tzinfo=prague)) == "2026-07-01T10:00:00.000000+00:00"
    with pytest.raises(BadInput, match="carries no time zone"):
        staging.utc_text(datetime(2026, 7, 1, 12))


def test_an_atomic_write_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with staging.atomic_write(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    with pytest.raises(TypeError), staging.atomic_write(path) as temporary:
        temporary.write_bytes("second")  # type: ignore[arg-type]
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_an_atomic_write_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), staging.atomic_write(tmp_path / "a"):
        pass


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    staging.write_json(path, {"version": 1})
    program = (
        "import os, pathlib, signal, sys\n"
        "from include.staging import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('{')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert staging.read_json(path) == {"version": 1}


def test_json_is_the_same_bytes_for_the_same_content(tmp_path: Path) -> None:
    staging.write_json(tmp_path / "a", {"b": "ž", "a": [1]})
    staging.write_json(tmp_path / "b", {"a": [1], "b": "ž"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert staging.read_json(tmp_path / "a") == {"a": [1], "b": "ž"}


@pytest.mark.parametrize("content", [b"{", b"\xff", b""])
def test_unreadable_json_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(BadInput, match="Remove it and clear the step that wrote it"):
        staging.read_json(tmp_path / "a")
    with pytest.raises(BadInput, match="did not finish"):
        staging.read_json(tmp_path / "b")
