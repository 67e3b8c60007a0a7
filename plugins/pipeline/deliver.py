"""One delivery of one part, and the closing of the books when all are done."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from include.deliveries import books, claims, custom, feed, rows
from include.errors import BooksDoNotBalance, ConfigError, PipelineError
from include.publishers.config import load_publisher
from include.publishers.deliveries import (
    AnyDelivery,
    KlaviyoDelivery,
    PlatformDelivery,
    PythonDelivery,
    SmartEmailingDelivery,
    WarehouseDelivery,
)
from include.recommendations.layout import list_folder
from include.staging import MANIFEST, read_json, slug, staging_root, to_path, write_json
from pipeline import platforms
from pipeline.plan import Plan
from warehouse.load import deliver_part as load_part

PLATFORMS = ("klaviyo", "smartemailing")


class TooManySetAside(PipelineError):
    """A platform refused so many recipients that the mistake is likely not theirs."""


def batch_name(plan: Plan, batch: dict[str, Any]) -> str:
    """The name of what is delivered: a batch for one user set, what of it, and for which types if not for all."""
    name = f"{batch['sha256'][:12]}-for-{batch['user_set']}"
    if batch["outcome"] == "default_only":  # other content than the same batch's own recommendations
        name += "-default-only"
    types = plan["recommendation_types"]
    return f"{name}-only-{slug('.'.join(sorted(types)))}" if types else name


def delivery_folder(plan: Plan, batch: dict[str, Any], delivery: str) -> Path:
    """Where the files of one delivery lie."""
    return staging_root() / plan["publisher"] / "deliveries" / batch_name(plan, batch) / delivery


def check_types(plan: Plan, batch: dict[str, Any]) -> None:
    """A run that asks for recommendation types must find them.

    Raises:
        ConfigError: the batch has none of a type that was asked for.
    """
    manifest = read_json(to_path(batch["uri"]) / MANIFEST)
    known = set(manifest["types"]) | set((manifest["default"] or {}).get("types", []))
    unknown = sorted(set(plan["recommendation_types"] or []) - known)
    if unknown:
        raise ConfigError(
            f"recommendation_types: the batch has no {', '.join(unknown)}; it has {', '.join(sorted(known))}"
        )


def deliver_part(plan: Plan, batch: dict[str, Any], name: str, part: int) -> dict[str, Any]:
    """Do one delivery with one part, but for Klaviyo's, which waits in between; doing it again changes nothing.

    Returns:
        figures: ``delivery``, ``part``, ``kind``, ``recipients``, ``rows`` and, of a feed, ``files``.
    """
    publisher = load_publisher(plan["publisher"])
    delivery = narrowed(plan, name)
    folder, out = to_path(batch["uri"]), delivery_folder(plan, batch, name)
    recon = list_folder(folder, batch["user_set"])
    if delivery.kind == "feed":
        figures = feed.write_feed_part(folder, recon, part, out, delivery)
    elif isinstance(delivery, SmartEmailingDelivery):
        figures = platforms.deliver_contacts(platform_work(plan, batch, delivery, part))
    else:
        table = rows.part_table(folder, recon, part, delivery.recommendation_types, use_default_set=False)
        if isinstance(delivery, WarehouseDelivery):
            figures = {"rows": load_part(delivery, publisher.name, batch_name(plan, batch), part, table)}
        else:
            assert isinstance(delivery, PythonDelivery)
            about = {"publisher": publisher.name, "batch": batch_name(plan, batch), "part": part, "delivery": name}
            with custom.folder_for(out) as own:
                rows_done = custom.run_callable(delivery.callable, table.to_pandas(), {**about, "out": str(own)})
            figures = {"rows": rows_done}
    return {"delivery": name, "kind": delivery.kind, "part": part, **figures}


def platform_work(
    plan: Plan, batch: dict[str, Any], delivery: KlaviyoDelivery | SmartEmailingDelivery, part: int
) -> platforms.Work:
    """What is to be done with a part of a platform's delivery."""
    out = delivery_folder(plan, batch, delivery.name)
    return platforms.work_of(delivery, plan["publisher"], batch, out, part)


def narrowed(plan: Plan, name: str) -> AnyDelivery:
    """A delivery, narrowed to the recommendation types that the run asks for."""
    delivery, types = load_publisher(plan["publisher"]).delivery(name), plan["recommendation_types"]
    if not types:
        return delivery
    own = delivery.recommendation_types
    both = [each for each in types if own is None or each in own]
    return delivery.model_copy(update={"recommendation_types": both})


def close_books(
    plan: Plan, batch: dict[str, Any], coverage: dict[str, Any], delivered: list[dict[str, Any]]
) -> dict[str, Any]:
    """Commit each delivery by its manifest and check that every uploaded user was accounted for.

    Returns:
        the figures of the run, and ``table``: the same for a person to read.

    Raises:
        BooksDoNotBalance: the recipients of a feed or a platform are not the uploaded users.
        TooManySetAside: a platform refused more of them than the publisher's file allows.
    """
    by_delivery: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for figures in delivered:
        by_delivery[figures["delivery"]].append(figures)
    summary = {
        name: _close_delivery(plan, batch, name, parts, coverage["uploaded"]) for name, parts in by_delivery.items()
    }
    for name, totals in summary.items():
        _check_set_aside(plan, batch, name, totals)
    figures = {
        "publisher": plan["publisher"],
        "batch": batch["sha256"],
        "user_set": batch["user_set"],
        "outcome": batch["outcome"],
        **{key: coverage[key] for key in ("uploaded", "personalised", "absent", "unexpected")},
        "deliveries": summary,
    }
    return {**figures, "table": _table(figures)}


def _close_delivery(
    plan: Plan, batch: dict[str, Any], name: str, parts: list[dict[str, Any]], uploaded: int
) -> dict[str, Any]:
    out = delivery_folder(plan, batch, name)
    totals: dict[str, Any] = {"kind": parts[0]["kind"], "parts": len(parts), "rows": sum(p["rows"] for p in parts)}
    if totals["kind"] == "feed":
        manifest = feed.finish(out, sorted(parts, key=lambda figures: int(figures["part"])))
        totals |= {key: manifest[key] for key in ("recipients", "personalised", "default", "nothing")}
    elif totals["kind"] in PLATFORMS:
        totals |= books.total(parts)
    if "recipients" not in totals:
        write_json(out / "manifest.json", totals)
        return totals
    if totals["recipients"] != uploaded:
        raise BooksDoNotBalance(
            f"delivery {name}: {totals['recipients']:,} recipients were written, {uploaded:,} users were uploaded. "
            f"Nothing was announced. Clear the deliver tasks; if it stays, keep {out} and report it."
        )
    if totals["kind"] != "feed":
        delivery = narrowed(plan, name)
        assert isinstance(delivery, KlaviyoDelivery | SmartEmailingDelivery)
        claims.forget_older(platforms.confirmed_folder(plan["publisher"], delivery), platforms.order_of(batch))
        write_json(out / "manifest.json", totals)
    return totals


def _check_set_aside(plan: Plan, batch: dict[str, Any], name: str, totals: dict[str, Any]) -> None:
    delivery = narrowed(plan, name)
    if not isinstance(delivery, PlatformDelivery) or not totals["recipients"]:
        return
    share = 100 * totals["set_aside"] / totals["recipients"]
    if share > delivery.fail_set_aside_percent:
        raise TooManySetAside(
            f"delivery {name}: {totals['set_aside']:,} of {totals['recipients']:,} recipients were set aside "
            f"({share:.1f} %), more than fail_set_aside_percent ({delivery.fail_set_aside_percent:g}). The others were "
            f"written. {delivery_folder(plan, batch, name)}/part-*/rejects.parquet has the reasons. Mend what they "
            "name and clear write_back, or raise the threshold and clear this task."
        )


def _table(figures: dict[str, Any]) -> str:
    lines: Iterable[tuple[str, Any]] = [
        *((key, figures[key]) for key in ("publisher", "outcome", "uploaded", "personalised", "absent", "unexpected")),
        *(
            (f"delivery {name}", ", ".join(f"{key} {_number(value)}" for key, value in totals.items()))
            for name, totals in figures["deliveries"].items()
        ),
    ]
    return "\n".join(["what was delivered", *(f"  {key:<28} {_number(value)}" for key, value in lines)])


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
