"""The body of an upload: exact bytes, known length, verified before its end, within its time."""

import hashlib
import itertools
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.errors import BadInput
from luigisbox.body import PIECE_BYTES, MultipartBody, Upload
from vendor_http.errors import TooSlow


def upload_of(folder: Path, *contents: bytes, **changes: Any) -> Upload:
    files = []
    for number, content in enumerate(contents):
        files.append(folder / f"users-{number:05d}.json")
        files[-1].write_bytes(content)
    whole = b"".join(contents)
    promised = {"bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest(), **changes}
    return Upload(files=files, name="users.json", content_type="application/json", **promised)


def everything(body: MultipartBody) -> bytes:
    return b"".join(bytes(piece) for piece in body)


def the_file(body: MultipartBody) -> Any:
    """Read the body as Python's own mail parser does."""
    head = f"MIME-Version: 1.0\r\nContent-Type: {body.content_type}\r\n\r\n".encode()
    (part,) = BytesParser().parsebytes(head + everything(body)).get_payload()
    return part


def test_all_chunks_are_one_file(tmp_path: Path) -> None:
    body = MultipartBody(upload_of(tmp_path, b"one\n", b"", b"two\n"), 600, 60)
    part = the_file(body)
    assert part.get_param("name", header="content-disposition") == "file"
    assert part.get_filename() == "users.json"
    assert part.get_content_type() == "application/json"
    assert part.get_payload(decode=True) == b"one\ntwo\n"


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 1000, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1]), min_size=1, max_size=4)
)
def test_its_length_is_what_it_sends(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    contents = [bytes([index + 65]) * size for index, size in enumerate(sizes)]
    body = MultipartBody(upload_of(tmp_path_factory.mktemp("body"), *contents), 600, 60)
    pieces = [bytes(piece) for piece in body]
    assert sum(map(len, pieces)) == len(body)
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert body.sent == sum(sizes)
    assert b"".join(contents) in b"".join(pieces)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"bytes": 9}, "8 bytes, it lists 9"),
        ({"bytes": 7}, "more than the 7 bytes it lists"),
    ],
)
def test_what_the_manifest_does_not_list_is_never_whole(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    body = MultipartBody(upload_of(tmp_path, b"one\n", b"two\n", **changes), 600, 60)
    sent: list[bytes] = []
    with pytest.raises(BadInput) as caught:
        sent.extend(bytes(piece) for piece in body)
    assert sentence in str(caught.value)
    assert b"--\r\n" not in b"".join(sent)
    assert not body.closing


def test_closing_is_known_before_the_last_piece_goes_out(tmp_path: Path) -> None:
    body = MultipartBody(upload_of(tmp_path, b"one\n"), 600, 60)
    states = [body.closing for _ in body]
    assert states == [False, False, True]


class Clock:
    """Runs so many seconds with each look at it."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_it_gives_up_at_the_limit(tmp_path: Path) -> None:
    body = MultipartBody(upload_of(tmp_path, b"x" * 3 * PIECE_BYTES), 10, 60, Clock(11))
    with pytest.raises(TooSlow, match="must arrive within 10 s"):
        everything(body)
    assert not body.closing


def test_it_gives_up_early_when_it_cannot_make_it(tmp_path: Path) -> None:
    clock = Clock(0)
    body = MultipartBody(upload_of(tmp_path, b"x" * 100 * PIECE_BYTES), 100, 60, clock)

    def send_slowly() -> None:
        for number, _ in enumerate(body):
            clock.now = number * 10.0  # 1 MiB each 10 s would take 1,000 s of the 100

    with pytest.raises(TooSlow, match="3,145,728 of 104,857,600 bytes"):
        send_slowly()
    assert clock.now == 30


def test_a_slow_start_alone_is_no_reason(tmp_path: Path) -> None:
    clock = Clock(0)
    body = MultipartBody(upload_of(tmp_path, b"x" * 10 * PIECE_BYTES), 100, 60, clock)
    for number, _ in enumerate(body):
        clock.now = 20 + number * 0.1
    assert body.closing


def test_each_piece_has_only_the_time_that_is_left(tmp_path: Path) -> None:
    class Connection:
        limits: list[float] = []  # noqa: RUF012

        def settimeout(self, seconds: float) -> None:
            self.limits.append(seconds)

    clock = Clock(0)
    body, connection = MultipartBody(upload_of(tmp_path, b"x"), 100, 60, clock), Connection()
    body.attach(connection)  # type: ignore[arg-type]
    for _, seconds in zip(body, itertools.count(50, 25), strict=False):
        clock.now = float(seconds)
    assert connection.limits == [60, 50, 25]
