"""How a raw batch is read: in stretches of whole users, by this process and one more.

The second process is a plain ``python -m`` child, which also works inside a daemonic worker of Airflow. If a
stretch is anything but plain, all is dropped and the exact reader of the format goes through the whole batch; it
alone decides whether the batch is whole, foreign, or merely unusual.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from include.recommendations import json_pieces, json_stream, xml_pieces, xml_stream
from include.recommendations.collector import Collector
from include.recommendations.rows import USER_LIMIT, Odd
from include.recommendations.spill import write_stretch
from include.staging import PROJECT_ROOT, read_json

STRETCH = 8 * 1024 * 1024
"""Bytes of raw batch that are read, held and written down at a time."""
SECOND_PROCESS_FROM = 64 * 1024 * 1024
"""A smaller batch is read before another process has started."""
TASK = "second-process.json"
GAVE_UP = 3


class Plain(Protocol):
    """The fast reader of a format."""

    def content(self, raw: Path) -> tuple[int, int]:
        """Where the users begin and end, in bytes."""

    def border(self, window: bytes) -> int:
        """The end of the first whole user in ``window``; 0 if none ends there."""

    def read(self, stretch: bytes, sink: Collector) -> None:
        """Read whole users."""


@dataclass(frozen=True)
class Job:
    """What both processes need to know."""

    raw: str
    work: str
    layout: str
    parts: int
    zone: str

    def sink(self) -> Collector:
        """An empty collector."""
        return Collector(self.parts, self.zone)


_PLAIN: dict[str, Plain] = {"xml": xml_pieces, "lines": json_pieces.Lines(), "array": json_pieces.Array()}


def read(job: Job, processes: int | None = None) -> int:
    """Read the whole batch into the work folder; returns how many unknown fields were left out.

    Raises:
        Refusal: foreign, hostile or malformed.
        Unfinished: not whole.
    """
    try:
        stretches = list(_cut(job))
        second = Path(job.raw).stat().st_size >= SECOND_PROCESS_FROM and (os.cpu_count() or 1) > 1
        if processes == 2 or (processes is None and second):
            return _with_second_process(job, stretches)
        return _read_stretches(job, stretches)
    except Odd:
        for path in Path(job.work).iterdir():
            path.unlink()
        return _read_exactly(job)


def _cut(job: Job) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of every stretch; the same however many processes read them."""
    plain = _PLAIN[job.layout]
    begin, end = plain.content(Path(job.raw))
    number = 0
    with Path(job.raw).open("rb") as handle:
        while end - begin > STRETCH:
            stop = begin + STRETCH
            handle.seek(stop)
            found = plain.border(handle.read(64 * 1024))
            if not found:
                handle.seek(stop)
                found = plain.border(handle.read(USER_LIMIT))
            if not found:
                raise Odd(f"more than {USER_LIMIT} bytes without a whole user")
            stop = min(stop + found, end)
            yield number, begin, stop
            begin, number = stop, number + 1
    yield number, begin, end


def _read_stretches(job: Job, stretches: list[tuple[int, int, int]]) -> int:
    ignored = 0
    with Path(job.raw).open("rb") as handle:
        for number, begin, end in stretches:
            if not _claim(job, number):
                continue
            handle.seek(begin)
            sink = job.sink()
            _PLAIN[job.layout].read(handle.read(end - begin), sink)
            write_stretch(Path(job.work), f"{number:06d}", sink)
            ignored += sink.ignored_fields
    return ignored


def _claim(job: Job, number: int) -> bool:
    """Whether this stretch is still to be read; from now on it is ours."""
    try:
        (Path(job.work) / f"{number:06d}.claimed").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _with_second_process(job: Job, stretches: list[tuple[int, int, int]]) -> int:
    """Share the stretches with a child, which finds its task in the work folder: each takes what is left.

    Raises:
        Odd: either process found something that is not plain.
        ChildProcessError: the child died, for lack of memory or disk, say.
    """
    task = Path(job.work) / TASK
    task.write_text(json.dumps({"job": asdict(job), "stretches": stretches}), "utf-8")
    path = os.pathsep.join(filter(None, (str(PROJECT_ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-P", "-m", "include.recommendations.stretches", str(task)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}) as child:
        try:
            ignored = _read_stretches(job, stretches)
            answer, _ = child.communicate()
        except BaseException:
            child.kill()
            raise
    if child.returncode == GAVE_UP:
        raise Odd("the second process found something that is not plain")
    if child.returncode != 0:
        raise ChildProcessError(
            f"the second reading process ended with {child.returncode}; nothing was kept, try again"
        )
    return ignored + int(answer)


def _read_exactly(job: Job) -> int:
    raw, sink = Path(job.raw), job.sink()
    if job.layout == "xml":
        offsets = xml_stream.read_all(raw, sink)
    else:
        offsets = json_stream.read_all(raw, sink, array=job.layout == "array")
    number = written = 0
    for offset in offsets:
        if offset - written >= STRETCH:
            write_stretch(Path(job.work), f"{number:06d}", sink)
            sink.empty()
            number, written = number + 1, offset
    write_stretch(Path(job.work), f"{number:06d}", sink)
    return sink.ignored_fields


def _main(task: dict[str, Any]) -> int:
    try:
        print(_read_stretches(Job(**task["job"]), task["stretches"]))  # noqa: T201
    except Odd:
        return GAVE_UP
    return 0


if __name__ == "__main__":
    sys.exit(_main(read_json(Path(sys.argv[1]))))
