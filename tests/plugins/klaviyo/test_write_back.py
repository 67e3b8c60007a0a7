"""Import jobs of one part, against a server that refuses as told: who is set aside, and what a retry sends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.deliveries import claims
from include.deliveries.changes import Wanted, compare
from include.deliveries.part import OWN, Part
from include.errors import NotReady
from include.publishers.deliveries import KlaviyoDelivery
from klaviyo.write_back import MALFORMED, MOST_MALFORMED, MOST_NAMED, UNNAMED, WriteBack, overtaken_jobs
from vendor_http.errors import Invalid, ServerError

PLACE = "/data/attributes/profiles/data"


class Importer:
    """Takes jobs as Klaviyo does; refuses those that hold a bad profile, and may name it or not."""

    def __init__(self, vendor: Any) -> None:
        self.vendor = vendor
        self.bad: set[str] = set()
        self.failed: set[str] = set()
        self.names_pointers, self.names_errors, self.status = True, True, "complete"
        self.jobs: list[list[str]] = []
        self.counts: dict[str, int] = {}
        self.refusals = 0
        self.break_after: int | None = None
        vendor.answers.append(self._answer)

    def _answer(self, request: Any) -> None:
        if request.command == "POST":
            self._import(request, json.loads(self.vendor.bodies[-1]))
        elif request.path.partition("?")[0].endswith("/import-errors"):
            self._errors(request, int(request.path.split("/")[-2]))
        else:
            number = int(request.path.rpartition("/")[2])
            failed = len(self.failed & set(self.jobs[number]))
            total = len(self.jobs[number])
            counts = {"total_count": total, "completed_count": total - failed, "failed_count": failed, **self.counts}
            self._say(request, 200, {"type": "x", "id": str(number), "attributes": {"status": self.status, **counts}})

    def _import(self, request: Any, body: Any) -> None:
        names = [each["id"] for each in body["data"]["attributes"]["profiles"]["data"]]
        bad = [place for place, name in enumerate(names) if name in self.bad]
        if bad:
            self.refusals += 1
            pointers = [f"{PLACE}/{place}/attributes/properties" for place in bad] if self.names_pointers else ["/data"]
            errors = [{"title": "Invalid input.", "detail": "x" * 99, "source": {"pointer": each}} for each in pointers]
            request.reply(400, json.dumps({"errors": errors}).encode())
            return
        self.jobs.append(names)
        if len(self.jobs) == self.break_after:
            request.close_connection = True  # stored, and nobody is told
            return
        self._say(request, 202, {"type": "profile-bulk-import-job", "id": str(len(self.jobs) - 1)})

    def _errors(self, request: Any, number: int) -> None:
        rows = [
            {"attributes": {"code": "odd", "title": "Odd.", "original_payload": {"id": name}}}
            for name in self.jobs[number]
            if name in self.failed and self.names_errors
        ]
        rows = [{"type": "import-error", "id": str(at), **row} for at, row in enumerate(rows)]
        request.reply(200, json.dumps({"data": rows, "links": {"next": None}}).encode())

    def _say(self, request: Any, status: int, resource: Any) -> None:
        request.reply(status, json.dumps({"data": resource}).encode())


@pytest.fixture
def importer(vendor: Any) -> Importer:
    return Importer(vendor)


@pytest.fixture
def work(vendor: Any, importer: Importer, tmp_path: Path) -> Callable[..., WriteBack]:
    def make(count: int, batch: str = "one", **changes: Any) -> WriteBack:
        part = part_of(tmp_path, count, batch)
        settings = KlaviyoDelivery(name="profiles", kind="klaviyo", **changes)
        return WriteBack(vendor.client(), part, settings)

    return make


def part_of(root: Path, count: int, batch: str) -> Part:
    names = [f"P{number:04d}" for number in range(count)]
    recon = root / "recon" / batch
    (recon / "recipients").mkdir(parents=True, exist_ok=True)
    table = pa.table({name: pa.array(names, pa.string()) for name in ("auth_user_id", "recipient")})
    pq.write_table(table, recon / "recipients" / "part-000.parquet")
    folder = root / "deliveries" / batch / "profiles" / "part-000"
    part = Part(folder, root / "deliveries" / "confirmed" / "profiles", recon, 0, 1, batch, batch)
    claims.begin(part)
    compare(part, (Wanted(name, name, OWN, {"a": json.dumps(name)}) for name in names))
    return part


def test_all_that_a_refusal_names_are_set_aside_at_once(work: Any, importer: Importer) -> None:
    importer.bad = {f"P{number:04d}" for number in range(10, 90, 2)}  # more than the sentence has room for
    jobs = work(100)
    assert jobs.send() == ["0"]
    assert importer.refusals == 1
    assert jobs.settle() == []
    assert dict(jobs.refused()) == dict.fromkeys(range(10, 90, 2), MALFORMED)
    assert len(importer.jobs[0]) == 60


def test_a_job_is_halved_when_nobody_is_named(work: Any, importer: Importer) -> None:
    importer.bad, importer.names_pointers = {"P0003", "P0041"}, False
    jobs = work(64)
    assert len(jobs.send()) == len(importer.jobs)
    assert sorted(name for job in importer.jobs for name in job) == [
        f"P{number:04d}" for number in range(64) if number not in (3, 41)
    ]
    assert jobs.settle() == []
    assert dict(jobs.refused()) == {3: MALFORMED, 41: MALFORMED}
    sent = len(importer.jobs)
    assert jobs.send() == []  # a retry reads the notes
    assert len(importer.jobs) == sent


@pytest.mark.parametrize("names_pointers", [True, False])
def test_a_mistake_that_is_not_the_profiles_stops_and_is_tried_anew(
    work: Any, importer: Importer, names_pointers: bool
) -> None:
    count = MOST_NAMED + 2 if names_pointers else MOST_MALFORMED + 4
    importer.bad, importer.names_pointers = {f"P{number:04d}" for number in range(count)}, names_pointers
    jobs = work(count)
    with pytest.raises(Invalid):
        jobs.send()
    assert list(jobs.refused()) == []
    importer.bad = set()
    assert len(jobs.send()) == 1
    assert len(importer.jobs[-1]) == count


def test_a_cancelled_job_is_sent_again(work: Any, importer: Importer) -> None:
    jobs = work(5)
    jobs.send()
    importer.status = "cancelled"
    with pytest.raises(NotReady, match="cancelled of import job 0"):
        jobs.settle()
    importer.status = "complete"
    assert jobs.send() == ["1"]
    assert jobs.settle() == []
    assert importer.jobs[0] == importer.jobs[1]


def test_jobs_that_run_are_polled_not_sent_again(work: Any, importer: Importer) -> None:
    jobs, importer.status = work(10, job_profiles=4), "processing"
    assert jobs.send() == ["0", "1", "2"]
    assert jobs.settle() == ["0", "1", "2"] == jobs.send()
    importer.status = "complete"
    assert jobs.settle() == []
    assert len(importer.jobs) == 3


def test_an_answer_that_is_lost_after_the_store(work: Any, importer: Importer) -> None:
    importer.break_after = 2
    jobs = work(9, job_profiles=3)
    assert jobs.send() == ["0", "2", "3"]
    assert importer.jobs[1] == importer.jobs[2] == ["P0003", "P0004", "P0005"]


def test_trouble_in_between_leaves_the_rest_to_the_next_try(work: Any, importer: Importer, vendor: Any) -> None:
    jobs = work(9, job_profiles=3)
    trouble = [lambda request: request.reply(503, b"{}")] * 4
    vendor.answers = [importer._answer, *trouble, importer._answer]
    with pytest.raises(ServerError, match="503"):
        jobs.send()
    assert len(importer.jobs) == 1
    vendor.answers = [importer._answer]
    assert jobs.send() == ["0", "1", "2"]


def test_import_errors_by_name(work: Any, importer: Importer) -> None:
    importer.failed = {"P0002"}
    jobs = work(5)
    jobs.send()
    assert jobs.settle() == []
    assert dict(jobs.refused()) == {2: "odd Odd."}


def test_more_failures_than_names_confirm_nobody_of_the_job(work: Any, importer: Importer) -> None:
    importer.failed, importer.names_errors = {"P0002"}, False
    jobs = work(6, job_profiles=3)
    jobs.send()
    jobs.settle()
    assert dict(jobs.refused()) == dict.fromkeys(range(3), UNNAMED)


@pytest.mark.parametrize(
    "counts",
    [
        {"completed_count": 0},
        {"completed_count": 2},
        {"total_count": 0, "completed_count": 0},
        {"total_count": 2, "completed_count": 2},
        {"total_count": 4, "completed_count": 4},
    ],
)
def test_a_job_counts_only_with_all_its_profiles(work: Any, importer: Importer, counts: dict[str, int]) -> None:
    importer.counts = counts
    jobs = work(3)
    jobs.send()
    assert jobs.settle() == []
    assert dict(jobs.refused()) == dict.fromkeys(range(3), UNNAMED)


@pytest.mark.parametrize("counts", [{"completed_count": 3}, {"completed_count": 2, "failed_count": 0}])
def test_import_errors_explain_what_is_missing(work: Any, importer: Importer, counts: dict[str, int]) -> None:
    importer.failed, importer.counts = {"P0001"}, counts
    jobs = work(3)
    jobs.send()
    jobs.settle()
    assert dict(jobs.refused()) == {1: "odd Odd."}


def test_a_job_that_klaviyo_forgot_is_sent_again(work: Any, importer: Importer, vendor: Any) -> None:
    jobs = work(5)
    jobs.send()
    vendor.answers = [lambda request: request.reply(404, b"{}")]
    with pytest.raises(NotReady, match="does not know import job 0"):
        jobs.settle()
    vendor.answers = [importer._answer]
    assert jobs.send() == ["1"]
    assert jobs.settle() == []
    assert importer.jobs[0] == importer.jobs[1]
    assert list(jobs.refused()) == []


def test_a_newer_batch_stops_the_sending(work: Any, importer: Importer, tmp_path: Path) -> None:
    older = work(3)
    part_of(tmp_path, 3, "two")
    with pytest.raises(claims.Overtaken):
        older.send()
    assert importer.jobs == []


def test_the_jobs_of_an_overtaken_batch_are_known(work: Any, importer: Importer, tmp_path: Path, vendor: Any) -> None:
    work(6, job_profiles=3).send()
    newer, importer.status = part_of(tmp_path, 6, "two"), "queued"
    assert overtaken_jobs(vendor.client(), newer) == ["0", "1"]
    importer.status = "complete"
    assert overtaken_jobs(vendor.client(), newer) == []
    vendor.answers = [lambda request: request.reply(404, b"{}")]
    assert overtaken_jobs(vendor.client(), newer) == []
