"""Kills senders of purchases with signal 9 at every boundary, plays faults, settles by looking, and counts what came.

python -m tests.plugins.luigisbox.kill_driver --kills 300 --seed 7
python -m tests.plugins.luigisbox.kill_driver --kills 300 --seed 7 --database postgresql://postgres@127.0.0.1/postgres
python -m tests.plugins.luigisbox.kill_driver --kills 30 --staging s3 --database postgresql://postgres@127.0.0.1/postgres

Shops are generated. Each has runs of overlapping windows, which are sent by processes that die, until all is sent. Then
the rows that the sandbox accepted must be those of the shop, each session in one upload, and all books must balance.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import requests

from include.extract import write_rows
from include.publishers.senders import Transactions
from include.sandbox.server import Running, running
from include.staging import PROJECT_ROOT, read_json, slug, staging_root
from include.transactions.build import build_transactions
from tests.object_store import BUCKET, CONNECTION, s3_server, use
from tests.plugins.luigisbox.kill_child import ENDED, FAILED, PHASES, SENT, UNSETTLED, WAITING, ledger_at

NAMES = ["session_id", "identity", "user_id", "created_at"]
FIRST, DAYS = datetime(2026, 3, 1, tzinfo=UTC), 28
NOW = datetime(2026, 4, 1, tzinfo=UTC)
FAULTS = ("reset_mid_body", "reset_after_store", "503", "429", "500", "slow_read")
_CODES = {SENT: "sent", FAILED: "not stored", UNSETTLED: "unsettled", WAITING: "waits", ENDED: "ended by somebody"}
FROM_OUTSIDE = "from outside, at any time"
Row = tuple[str | None, ...]


class Zygote:
    """The process that forks senders; see ``kill_child``."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.plugins.luigisbox.kill_child"]
        self._process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._number = 0
        self._there: set[int] = set()
        self._codes: dict[int, int] = {}
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()

    def start(self, job: dict[str, Any]) -> int:
        """Start a sender; gives its number."""
        self._number += 1
        self._order({**job, "number": self._number})
        while self._number not in self._there:
            self._read()
        return self._number

    def kill(self, number: int) -> None:
        """Kill it, if it is still there."""
        self._order({"kill_number": number})

    def wait(self, number: int) -> int:
        """Its exit code; negative: the signal that killed it."""
        while number not in self._codes:
            self._read()
        return self._codes.pop(number)

    def _order(self, order: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout
        words = self._process.stdout.readline().split()
        assert words, "the process that forks senders has ended"
        if words[1] == "=":
            self._codes[int(words[0])] = int(words[2])
        else:
            self._there.add(int(words[0]))


@dataclass
class Shop:
    """A generated shop: its runs, and the rows that must arrive, as (session, product, user, time)."""

    name: str
    runs: list[Path]
    extracted: dict[Path, int]
    expected: Counter[Row]
    sessions: int

    @property
    def book(self) -> str:
        return f"{self.name}/transactions"


def generate(chance: random.Random, name: str, sessions: int) -> list[Row]:
    """Rows of a shop: sessions of an hour or two, some without a time or user, repeats, and rows that are no good."""
    rows: list[Row] = []
    for number in range(sessions):
        begin = FIRST + timedelta(days=chance.uniform(0, DAYS))
        user = chance.choice([f"u{chance.randrange(9)}", None])
        timed = chance.random() > 0.1
        for _ in range(chance.randint(1, 5)):
            at = (begin + timedelta(minutes=chance.randrange(120))).isoformat(timespec="seconds") if timed else None
            rows.append((f"{name} {number} č", f"p{chance.randrange(30)}", user, at))
        if chance.random() < 0.2:
            rows.append(rows[-1])
        if chance.random() < 0.1:
            rows.append((chance.choice([None, "", f"{name} {number} č"]), None, user, None))
    chance.shuffle(rows)
    return rows


def part_of(rows: list[Row], start: datetime, end: datetime) -> list[Row]:
    """What a query over the widened window gives."""
    edges = [(start - timedelta(days=1)).isoformat(), (end + timedelta(days=1)).isoformat()]
    return [row for row in rows if row[3] is None or edges[0] <= row[3] < edges[1]]


def build(run: Path, rows: list[Row], window: tuple[datetime, datetime] | None, **files: Any) -> None:
    """A run of these rows; ``files`` are settings of its files."""
    settings = Transactions(connection="none", sql="none", refuse_reject_percent=100, **files)
    write_rows([rows], NAMES, NAMES, [], run / "raw", 0)
    edges = {"start": window[0].isoformat(), "end": window[1].isoformat()} if window else None
    build_transactions(run, settings, window=edges, now=NOW)


def make_shop(chance: random.Random, folder: Path, name: str, windows: int) -> Shop:
    """A shop with runs of overlapping windows that cover its history, and one of it all."""
    rows = generate(chance, name, chance.randint(20, 40))
    days = DAYS / windows
    edges = [(FIRST + timedelta(days=days * n - 2), FIRST + timedelta(days=days * (n + 1) + 2)) for n in range(windows)]
    runs = [folder / name / "transactions" / f"run-{n}" for n in range(windows + 1)]
    extracted = {}
    for run, window in zip(runs, [*edges, None], strict=True):
        given = part_of(rows, *window) if window else rows
        form = chance.choice(["json", "csv"]) if window else "json"
        build(run, given, window, max_file_bytes=chance.choice([2_000, 3_000, 9_000]), format=form)
        extracted[run] = len(given)
    whole = read_json(runs[-1] / "manifest.json")
    lines = [line for chunk in whole["chunks"] for line in (runs[-1] / chunk["name"]).read_text().splitlines()]
    return Shop(name, runs, extracted, Counter(_row(json.loads(line)) for line in lines), whole["sessions"])


def _row(found: dict[str, Any]) -> Row:
    at = found.get("created_at") or found.get("bought_at")
    text = datetime.fromisoformat(at).replace(tzinfo=None).isoformat() if at else None
    return (found["session_id"], found["identity"], found.get("user_id") or None, text)  # CSV knows no null


@dataclass
class Driver:
    """Sends shops by processes that die."""

    box: Running
    folder: Path
    staging: Path
    zygote: Zygote
    chance: random.Random
    ledger_place: str = ""
    done: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    events: dict[str, int] = field(default_factory=dict)
    """Events of each phase of a sender that is left alone."""

    def use(self, ledger_place: str) -> None:
        """Keep what is sent in a new ledger at this place, and learn the points at which senders can die."""
        self.ledger_place, self.ledger = ledger_place, ledger_at(ledger_place)
        self.measure()

    def killed(self) -> int:
        """How many senders were killed so far."""
        return self.kills.total()

    def shop(self, windows: int) -> Shop:
        """A new shop."""
        self.done["shops"] += 1
        return make_shop(self.chance, self.staging, f"shop{self.done['shops']}", windows)

    def measure(self) -> None:
        """Send one shop undisturbed, and count the events of each phase: the points at which others will die."""
        shop, counts = self.shop(1), self.folder / "counts.json"
        self.events = {}
        assert self.wait(self.start(shop, shop.runs[-1], counts=str(counts))) == SENT
        self.events = json.loads(counts.read_text())
        assert set(self.events) == set(PHASES), self.events
        self.check(shop)

    def one_by_one(self, shop: Shop, kills: int) -> None:
        """Send the runs of a shop in any order, one process at a time, of which so many are killed."""
        waiting, until = list(shop.runs), self.killed() + kills
        self.done["shops sent one by one"] += 1
        while waiting:
            run = self.chance.choice(waiting)
            policy = self.settle(shop, by_hand=self.killed() >= until)
            if self.killed() < until:
                code = self.attempt(shop, run, policy)
            else:
                code = self.wait(self.start(shop, run, on_unknown=policy))
                assert code == SENT, (code, run)
            if code == SENT:
                self.check_books(shop, run)
                waiting.remove(run)
        self.check(shop)

    def backfill(self, shop: Shop, rounds: int) -> None:
        """Send all runs of a shop at the same time, again and again; in the first rounds most of them shall die."""
        waiting = list(shop.runs)
        self.done["shops sent by a backfill"] += 1
        while waiting:
            dying = [self.chance.random() < 0.7 and rounds > 0 for _ in waiting]
            jobs = [self.point() if dies else {} for dies in dying]
            started = [self.start(shop, run, **job) for run, job in zip(waiting, jobs, strict=True)]
            codes = [self.count(self.wait(number), job) for number, job in zip(started, jobs, strict=True)]
            assert {SENT, UNSETTLED, -9} >= set(codes), codes
            for run in [run for run, code in zip(waiting, codes, strict=True) if code == SENT]:
                self.check_books(shop, run)
                waiting.remove(run)
            self.settle(shop, by_hand=True)
            rounds -= 1
        self.check(shop)

    def lost_answers(self, shop: Shop, fault: str) -> None:
        """Each file of a run meets a fault after its last byte; nobody dies."""
        run, stored = shop.runs[-1], fault == "reset_after_store"
        for _ in read_json(run / "manifest.json")["chunks"]:
            self.play(fault, 0)
            code = self.wait(self.start(shop, run))
            assert code == UNSETTLED, (code, run)
            (entry,) = self.ledger.entries(shop.book, ("sending", "unknown"))
            assert (entry.state, entry.sha256 in self.accepted()) == ("unknown", stored)
            self.settle(shop, by_hand=True)
        self.finish(shop)

    def killed_when_stored(self, shop: Shop, phase: str) -> None:
        """A sender dies when the vendor has its file, and it has not noted so; somebody clears the task at once."""
        run = shop.runs[-1]
        assert self.count(self.wait(self.start(shop, run, kill=[phase, 0])), {"kill": [phase]}) == -9
        (entry,) = self.ledger.entries(shop.book)
        assert (entry.state, entry.sha256 in self.accepted()) == ("sending", True)
        assert self.wait(self.start(shop, run)) == UNSETTLED
        assert self.ledger.entry(shop.book, entry.sha256).state == "unknown"
        self.finish(shop)

    def lost_lock(self, shop: Shop) -> None:
        """A sender loses its lock in the middle of an upload, and another one, who may send again, comes at once."""
        whole, other = shop.runs[-1], shop.runs[0]
        size = read_json(whole / "manifest.json")["chunks"][0]["bytes"]
        self.play("slow_read", max(size * 2 // 3, 1))
        first = self.start(shop, whole)
        for _ in range(500):
            if self.ledger.entries(shop.book, ("sending",)):
                break
            time.sleep(0.01)
        self.lose_lock(shop)
        assert self.wait(self.start(shop, other, on_unknown="resend")) == WAITING
        assert self.wait(first) in (SENT, WAITING)  # it claims nothing more
        self.done["locks lost"] += 1
        self.finish(shop)

    def lose_lock(self, shop: Shop) -> None:
        """Take the lock from the sender of a shop: its connection to the server, or the lock's file."""
        if self.ledger_place.startswith("postgresql:"):
            import psycopg

            with psycopg.connect(self.ledger_place, autocommit=True) as connection:
                found = connection.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND application_name LIKE 'ledger: process %'"
                ).fetchone()
            assert found == (1,)
            return
        (lock,) = Path(self.ledger_place).parent.glob(f"*.{slug(shop.book)}.lock")
        lock.unlink()

    def finish(self, shop: Shop) -> None:
        """Send all runs of a shop, settling by looking."""
        for run in shop.runs:
            self.settle(shop, by_hand=True)
            assert self.wait(self.start(shop, run)) == SENT
            self.check_books(shop, run)
        self.check(shop)

    def attempt(self, shop: Shop, run: Path, policy: str) -> int:
        """One attempt with a fault, or none, that is killed, or not."""
        fault = self.chance.choice(FAULTS) if self.chance.random() < 0.4 else None
        way = self.chance.choices(["point", "outside", "ended", "none"], [7, 2, 2, 1])[0]
        if way == "outside":
            fault = "slow_read"
        if fault:
            self.play(fault, 4_000 if way == "outside" else 30_000)
        job = self.point("end" if way == "ended" else "kill") if way in ("point", "ended") else {}
        (run / "sent.json").unlink(missing_ok=True)
        number = self.start(shop, run, on_unknown=policy, **job)
        if way == "outside":
            time.sleep(self.chance.uniform(0.005, 0.25))
            self.zygote.kill(number)
        code = self.count(self.wait(number), job)
        requests.delete(f"{self.box.url}/_sandbox/faults", timeout=10).raise_for_status()
        expected = [SENT, UNSETTLED, -9, *[FAILED] * bool(fault), *[WAITING] * (policy == "resend")]
        assert code in [*expected, *[ENDED] * (way == "ended")], (code, fault)
        if code != -9 and (run / "sent.json").exists():
            books = dict(read_json(run / "sent.json")["books"])
            assert books.pop("extracted") == sum(books.values()), books
        return code

    def point(self, how: str = "kill") -> dict[str, Any]:
        """A point at which a sender kills itself, or is ended by somebody: an event of a phase."""
        phase = self.chance.choice(PHASES)
        return {how: [phase, int(self.events[phase] * self.chance.random() ** 3)]}  # small runs have fewer

    def play(self, fault: str, speed: int) -> None:
        """Ask the sandbox for a fault."""
        options: dict[str, Any] = {"fault": fault}
        options |= {"retry_after": 0} if fault in ("429", "503") else {}
        options |= {"after_bytes": self.chance.randrange(2_000)} if fault == "reset_mid_body" else {}
        options |= {"bytes_per_second": speed} if fault == "slow_read" else {}
        requests.post(f"{self.box.url}/_sandbox/faults", json=options, timeout=10).raise_for_status()
        self.done[f"fault {fault}"] += 1

    def start(self, shop: Shop, run: Path, **options: Any) -> int:
        """Start a sender of a run."""
        self.done["attempts"] += 1
        url = self.box.url.replace("//", f"//{shop.name}@")  # the sandbox has one account: so each shop has its own
        account = {"url": url, "tracker": self.box.tracker, "key": self.box.private_key}
        return self.zygote.start(
            {**account, "ledger": self.ledger_place, "shop": shop.name, "run": run.as_uri(), **options}
        )

    def wait(self, number: int) -> int:
        """Wait for the end of a sender."""
        return self.zygote.wait(number)

    def count(self, code: int, job: dict[str, Any]) -> int:
        """Count a sender that ended."""
        if code == -9:
            self.kills[job["kill"][0] if "kill" in job else FROM_OUTSIDE] += 1
        self.done[_CODES.get(code, "killed")] += 1
        return code

    def settle(self, shop: Shop, *, by_hand: bool) -> str:
        """Settle what is unknown as somebody would who looks at the vendor's; gives the policy for the next attempt.

        Sometimes it is left, so that the next attempt meets it; sometimes a policy is left to settle it, where that
        is right.
        """
        accepted = self.accepted()
        waiting = self.ledger.entries(shop.book, ("sending", "unknown"))
        fates = {entry.sha256 in accepted for entry in waiting}
        way = "by hand" if by_hand else self.chance.choices(["by hand", "by policy", "left"], [4, 4, 1])[0]
        if not waiting:
            return "fail"
        if way == "by policy" and len(fates) == 1:
            policy = "assume_sent" if fates.pop() else "resend"
            self.done[f"left to {policy}"] += 1
            return policy
        if way != "left":
            for entry in waiting:
                state = "confirmed" if entry.sha256 in accepted else "prepared"
                self.ledger.settle_by_hand(shop.book, entry.sha256, state, "the driver", "it looked")
                self.done[f"settled as {state}"] += 1
        return "fail"

    def accepted(self) -> set[str]:
        """SHA-256 of the files that the sandbox has, once nothing is on its way to it and nothing in work.

        A request whose sender is dead may still become an upload: its connection is gone, its body is not.
        """
        port, quiet = int(self.box.url.rpartition(":")[2]), 0
        while quiet < 3:
            alone = not _connections(port)
            uploads = requests.get(f"{self.box.url}/_sandbox/uploads", timeout=10).json()
            states = {upload["state"] for upload in uploads}
            incoming = any((self.box.state / "incoming").iterdir())
            quiet = quiet + 1 if alone and "processing" not in states and not incoming else 0
        assert "cancelled" not in states
        return {upload["sha256"] for upload in uploads}

    def check_books(self, shop: Shop, run: Path) -> None:
        """The books of a run that was sent, from the rows extracted on."""
        books = dict(read_json(run / "sent.json")["books"])
        assert books["extracted"] == shop.extracted[run]
        assert books.pop("extracted") == sum(books.values()), books
        assert (books["changed"], books["unknown"]) == (0, 0)

    def check(self, shop: Shop) -> None:
        """What arrived is the shop, each session in one upload; the ledger says the same; nothing more is sent."""
        self.accepted()
        answer = requests.get(f"{self.box.url}/_sandbox/sessions", timeout=30)
        found = [json.loads(line) for line in answer.text.splitlines()]
        own = [row for row in found if row["session_id"].startswith(f"{shop.name} ")]
        came = Counter(map(_row, own))
        assert came == shop.expected, f"twice: {came - shop.expected}, missing: {shop.expected - came}"
        assert len({(row["session_id"], row["upload"]) for row in own}) == shop.sessions
        sent = self.ledger.entries(shop.book, ("confirmed",))
        assert sum(entry.units for entry in sent) == shop.sessions
        assert sum(entry.rows for entry in sent) == len(own)
        assert not self.ledger.entries(shop.book, ("sending", "unknown"))
        if self.events:
            assert self.wait(self.start(shop, shop.runs[-1])) == SENT
            assert read_json(shop.runs[-1] / "sent.json")["sent"]["sessions"] == 0
        self.done["sessions"] += shop.sessions
        self.done["rows"] += len(own)


def _connections(port: int) -> bool:
    """Whether somebody is connected to a port of this machine, or its server has not closed the connection yet."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(int(line[1].rpartition(":")[2], 16) == port and line[3] not in ("0A", "06") for line in lines)


@contextmanager
def driver(folder: Path, seed: int, staging: Path | None = None) -> Iterator[Driver]:
    """A driver with a sandbox of its own; tell it which ledger to :meth:`~Driver.use`."""
    with running(folder / "sandbox") as box, Zygote() as zygote:
        yield Driver(box, folder, staging or folder / "staging", zygote, random.Random(seed))


@contextmanager
def database_of_its_own(server: str) -> Iterator[str]:
    """A new Postgres database, as a URL; dropped in the end."""
    import psycopg

    name = f"kills_{random.SystemRandom().randrange(10**9)}"
    with closing(psycopg.connect(server, autocommit=True)) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{server.rpartition('/')[0]}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def main() -> None:
    """Kill as often as asked for, and print what was done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", help="URL of a Postgres server with /database; without: SQLite")
    parser.add_argument("--staging", choices=["folder", "s3"], default="folder")
    options = parser.parse_args()
    folder, started = Path(tempfile.mkdtemp(prefix="kills-")), time.monotonic()
    place = database_of_its_own(options.database) if options.database else None
    try:
        with ExitStack() as places:
            url = places.enter_context(place) if place else str(folder / "ledger.sqlite")
            staging = places.enter_context(_in_s3()) if options.staging == "s3" else None
            found = drive(folder, url, options.seed, options.kills, staging)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lines = [(f"killed {phase}", found.kills[phase]) for phase in (*PHASES, FROM_OUTSIDE)]
    lines += [("killed in all", found.killed()), *sorted(found.done.items())]
    for what, number in [*lines, ("seconds", round(time.monotonic() - started))]:
        sys.stdout.write(f"{what:48}{number:>8,}\n")
    sys.stdout.write("All that was to arrive has arrived, once.\n")


@contextmanager
def _in_s3() -> Iterator[Path]:
    """A staging store in S3."""
    with s3_server() as address:
        use(address)
        os.environ["STAGING_URI"] = f"s3://{CONNECTION}@{BUCKET}/kills"
        yield staging_root()


def drive(folder: Path, ledger_place: str, seed: int, kills: int, staging: Path | None = None) -> Driver:
    """Kill so often: shops one process at a time, and every third by a backfill in parallel."""
    with driver(folder, seed, staging) as made:
        made.use(ledger_place)
        while made.killed() < kills:
            if made.done["shops"] % 3:
                made.one_by_one(made.shop(3), min(20, kills - made.killed()))
            else:
                made.backfill(made.shop(5), 4)
    return made


if __name__ == "__main__":
    main()
