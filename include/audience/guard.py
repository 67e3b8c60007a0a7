"""May this list replace the live one? The last look before an upload that nobody can undo.

The new list is compared with the last list that was *accepted*; a list that was refused or held leaves that
baseline alone. A segment, the audience that one campaign asks for, is another list on purpose: its size and its
members are not compared, and the next whole list is compared with the last whole one.

``pass`` goes on, ``hold`` waits for a person, ``refuse`` needs other data or other thresholds. The verdict is for
exactly one list against exactly one live list; the upload asks for it (:func:`require_passed`). Figures and samples
are for people; samples are masked, no whole id leaves this room.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple

import duckdb

from include.audience.build import ACCEPTED
from include.audience.user_sets import UserSet, last_whole
from include.books import REJECTS
from include.engine import open_engine
from include.errors import PipelineError
from include.publishers.models import Guard
from include.staging import MANIFEST, find_json, read_json, write_json

VERDICT = "verdict.json"
SAMPLES = 10
_HOW_TO_GO_ON = {
    "pass": "",
    "hold": "Nothing is uploaded; the live list stays. Look at the figures and samples. If the list is right, trigger "
    "the DAG again with accept_held=true. If not, mend the source or its query and run again.",
    "refuse": "Nothing is uploaded; the live list stays. Mend the source or its query and run again; if the list is "
    "right as it is, change the keys named above in the publisher file. accept_held does not pass a refusal.",
}


class NotPassed(PipelineError):
    """The guard did not let this very list pass against this very live list."""


@dataclass(frozen=True)
class Verdict:
    """What the guard decided, and why.

    ``sha256`` is that of the list's manifest, ``live`` the name of the list it was compared with (None without one);
    ``accepted_by_hand`` says that a person lets a held list pass.
    """

    verdict: Literal["pass", "hold", "refuse"]
    sha256: str
    live: str | None
    accepted_by_hand: bool
    segment: bool
    reasons: list[str]
    figures: dict[str, Any]
    samples: list[str]

    @property
    def passed(self) -> bool:
        """May the list be sent?"""
        return self.verdict == "pass" or (self.verdict == "hold" and self.accepted_by_hand)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """Several lines for a log: the verdict, why, what the lists look like, how to go on."""
        against = f"the live list {self.figures['live']}" if self.figures["live"] else "no live list yet"
        lines = [f"{self.verdict.upper()}: a list of {self.figures['users']:,} users, compared with {against}."]
        if self.segment:
            lines.append("It is a segment, asked for by this run: its size and members are not compared.")
        lines += [f"  - {reason}" for reason in self.reasons]
        if self.samples:
            lines.append(f"Samples, masked: {', '.join(self.samples)}")
        how = "A person lets it pass: it is uploaded." if self.accepted_by_hand else _HOW_TO_GO_ON[self.verdict]
        return "\n".join([*lines, *filter(None, [how])])


class Finding(NamedTuple):
    """A rule that applied."""

    verdict: Literal["hold", "refuse"]
    reason: str


def judge(
    run: Path, live: UserSet | None, settings: Guard, accept_held: bool = False, segment: bool = False
) -> Verdict:
    """Compare the list of a run with the live one; the verdict is also written to ``run/verdict.json``.

    Args:
        run: the folder of the audience run, with its manifest.
        live: the last accepted list, None if there is none.
        settings: the thresholds of the publisher.
        accept_held: a person has looked at this list: if it is held, it passes. A refused list never does.
        segment: the list is the audience of one campaign, not the publisher's own.
    """
    manifest = read_json(run / MANIFEST)
    compared = live if segment or live is None else last_whole(live)
    with open_engine(run / ".guard") as engine:
        figures = _figures(engine, run, manifest, compared)
        findings = [*_on_its_own(figures, manifest, settings), *_older(manifest, live), *_looks(figures, settings)]
        findings += [] if segment else _size(figures, settings)
        found = {finding.verdict for finding in findings}
        outcome: Literal["pass", "hold", "refuse"] = "refuse" if "refuse" in found else "hold" if found else "pass"
        samples = _samples(engine, run, compared) if findings else []
    # Refusals first: they decide.
    reasons = [finding.reason for finding in sorted(findings, key=lambda finding: finding.verdict != "refuse")]
    verdict = Verdict(
        verdict=outcome,
        sha256=manifest["sha256"],
        live=live.name if live else None,
        accepted_by_hand=accept_held and outcome == "hold",
        segment=segment,
        reasons=reasons,
        figures=figures,
        samples=samples,
    )
    write_json(run / VERDICT, verdict.as_dict())
    return verdict


def require_passed(run: Path, live: UserSet | None) -> Verdict:
    """To be asked just before a list is sent: the verdict, the list or the live list may have changed since.

    A list that is the live one already may be sent again: it changes nothing.

    Args:
        run: the folder of the audience run, with its manifest and verdict.
        live: the list that is live now.

    Returns:
        The verdict by which it passes.

    Raises:
        NotPassed: there is no verdict, it is not for this list and this live list, or it lets nothing pass.
    """
    sha256, note = read_json(run / MANIFEST)["sha256"], find_json(run / VERDICT)
    if note is None:
        raise _not_passed(run, "the guard has not judged this list")
    if note.get("sha256") != sha256:
        raise _not_passed(run, "the list was built again after the guard judged it")
    found = Verdict(**note)
    if not found.passed:
        raise _not_passed(run, f"the guard's verdict is {found.verdict}: {'; '.join(found.reasons)}")
    name = live.name if live else None
    if found.live != name and not (live and live.record["sha256"] == sha256):
        raise _not_passed(run, f"the guard compared it with {found.live or 'no list'}, live is {name or 'none'} now")
    return found


def _not_passed(run: Path, why: str) -> NotPassed:
    return NotPassed(f"{run}: {why}. Nothing was sent. Clear `judge` and `upload` of this run; the guard looks again.")


def mask(value: str) -> str:
    """An id that people can recognise and nobody can use: at most two characters, and the length (``12…(7)``)."""
    return f"{ascii(value[: min(2, len(value) // 3)])[1:-1]}…({len(value)})"


def _figures(
    engine: duckdb.DuckDBPyConnection, run: Path, manifest: dict[str, Any], live: UserSet | None
) -> dict[str, Any]:
    users, books = manifest["rows"], manifest["books"]
    figures = {
        "users": users,
        **{key: books[key] for key in ("extracted", "rejected", "duplicates")},
        "rejected_percent": _percent(books["rejected"], books["extracted"]),
        "reject_reasons": {reason: rows for reason, rows in manifest["reasons"].items() if reason != "duplicate"},
        "as_of": manifest["as_of"],
        "live": live.name if live else None,
    }
    if live is None:
        return figures
    before = live.record["rows"]
    kept = _kept(engine, run / ACCEPTED, live, manifest)
    return figures | {
        "live_users": before,
        "kept": kept,
        "added": users - kept,
        "removed": before - kept,
        "shrink_percent": _percent(before - users, before),
        "grow_percent": _percent(users - before, before),
        "added_percent": _percent(users - kept, before),
        "removed_percent": _percent(before - kept, before),
        "shape_points": {
            shape: round(_percent(rows, users) - _percent(live.record["shapes"].get(shape, 0), before), 9)
            for shape, rows in manifest["shapes"].items()
        },
    }


def _kept(engine: duckdb.DuckDBPyConnection, accepted: Path, live: UserSet, manifest: dict[str, Any]) -> int:
    """How many ids both lists have."""
    if manifest["sha256"] == live.record["sha256"]:
        return int(manifest["rows"])
    counted = engine.execute(
        "SELECT count(*) FROM read_parquet(?) SEMI JOIN read_parquet(?) USING (auth_user_id)",
        [str(accepted), str(live.ids)],
    ).fetchall()
    return int(counted[0][0])


def _on_its_own(figures: dict[str, Any], manifest: dict[str, Any], settings: Guard) -> Iterator[Finding]:
    """Rules that need no live list."""
    users = figures["users"]
    if not manifest["complete"]:
        yield Finding("refuse", "the source is not proven complete: a part is missing or was not read to its end")
    if users == 0:
        yield Finding("refuse", "the list is empty; uploading it would delete the live list")
    elif users < settings.min_users:
        yield Finding("refuse", f"{users:,} users are fewer than guard.min_users = {settings.min_users:,}")
    reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in figures["reject_reasons"].items())
    yield from _above(
        figures["rejected_percent"],
        f"{figures['rejected']:,} of {figures['extracted']:,} extracted rows were rejected ({reasons})",
        settings,
        "reject_percent",
    )


def _older(manifest: dict[str, Any], live: UserSet | None) -> Iterator[Finding]:
    """Is the list of an earlier moment than the live one, whatever kind that is?"""
    if live and datetime.fromisoformat(manifest["as_of"]) < datetime.fromisoformat(live.record["as_of"]):
        yield Finding(
            "refuse",
            f"the list is of {manifest['as_of']}, older than the live list's {live.record['as_of']}; a backfill never "
            "replaces a newer list, and no key changes that",
        )


def _size(figures: dict[str, Any], settings: Guard) -> Iterator[Finding]:
    """Rules that compare size and members with an accepted list."""
    if figures["live"] is None:
        return
    size = f"{figures['live_users']:,} → {figures['users']:,} users"
    yield from _above(figures["shrink_percent"], f"shrunk, {size}", settings, "shrink_percent")
    yield from _above(figures["grow_percent"], f"grown, {size}", settings, "grow_percent")
    for change in ("removed", "added"):
        text = f"{figures[change]:,} ids {change}, measured against the live list's {figures['live_users']:,}"
        yield from _above(figures[f"{change}_percent"], text, settings, "churn_percent")


def _looks(figures: dict[str, Any], settings: Guard) -> Iterator[Finding]:
    """Do the ids look like those of an accepted list?"""
    if figures["live"] is None:
        return
    moved = {shape: points for shape, points in figures["shape_points"].items() if points}
    described = ", ".join(f"{shape} {points:+.4g} points" for shape, points in moved.items())
    furthest = max(map(abs, moved.values()), default=0)
    text = f"ids look different from the live list's ({described})"
    yield from _above(furthest, text, settings, "format_percent", " points")


def _above(share: float, text: str, settings: Guard, key: str, unit: str = " %") -> Iterator[Finding]:
    """A finding if the share is above ``refuse_{key}``, or else above ``hold_{key}``; not every key has both."""
    verdicts: tuple[Literal["refuse"], Literal["hold"]] = ("refuse", "hold")
    for verdict in verdicts:
        most = getattr(settings, f"{verdict}_{key}", None)
        if most is not None and share > most:
            yield Finding(verdict, f"{text}: {share:.4g}{unit}, more than guard.{verdict}_{key} = {most:g}")
            return


def _samples(engine: duckdb.DuckDBPyConnection, run: Path, live: UserSet | None) -> list[str]:
    """Up to ten ids that were removed, added or rejected (one for each reason); the same ones each time."""
    new, rejects = str(run / ACCEPTED), str(run / REJECTS)
    one_a_reason = "SELECT reason, min(auth_user_id) FROM read_parquet(?) WHERE reason <> 'duplicate' GROUP BY reason"
    difference = (
        "FROM read_parquet(?) AS here ANTI JOIN read_parquet(?) AS there USING (auth_user_id) SELECT '{}', auth_user_id"
    )
    queries = [(one_a_reason, [rejects])]
    if live:
        old = str(live.ids)
        queries += [(difference.format("removed"), [old, new]), (difference.format("added"), [new, old])]
    found = [engine.execute(f"{query} ORDER BY ALL LIMIT {SAMPLES}", files).fetchall() for query, files in queries]
    in_turns = [pair for pairs in zip_longest(*found) for pair in pairs if pair]
    return [f"{what} {'null' if one is None else mask(one)}" for what, one in in_turns[:SAMPLES]]


def _percent(part: int, whole: int) -> float:
    """Exact enough that one row in a billion is more than 0 percent, and no more exact than that."""
    return round(100 * part / whole, 9) if whole else 0.0
