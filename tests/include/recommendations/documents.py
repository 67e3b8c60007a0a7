"""Batches as Luigi's Box would write them, and the rows they must become."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq

from include.audience.user_sets import UserSet
from include.objects import arrow
from include.publishers.batches import LinkBatch

URL = "https://shop.example/p/{id}?utm_source=mail&recommendation_id=r-{id}&sort=a%20b"


@dataclass
class Product:
    id: str | None = "p1"
    url: str | None = URL.format(id="p1")
    title: str | None = "Příliš žluťoučký kůň"
    image_link: str | None = "https://cdn.shop.example/p1.jpg"

    def as_dict(self) -> dict[str, str | None]:
        return {"id": self.id, "url": self.url, "title": self.title, "image_link": self.image_link}


@dataclass
class User:
    id: str
    data: dict[str, list[Product]] = field(default_factory=lambda: {"mail-basket": products(2)})
    updated_at: str | None = "2026-11-20T10:00:00"

    def as_xml(self) -> str:
        meta = f"<_metadata><updated_at>{self.updated_at}</updated_at></_metadata>" if self.updated_at else ""
        blocks = "".join(_block(kind, own) for kind, own in self.data.items())
        return (
            f"<user><auth_user_id>{escape(self.id)}</auth_user_id><data>{meta}"
            f"<recommendations>{blocks}</recommendations></data></user>\n"
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "data": {kind: [product.as_dict() for product in own] for kind, own in self.data.items()},
        }


def products(count: int, start: int = 1) -> list[Product]:
    return [
        Product(f"p{n}", URL.format(id=f"p{n}"), f"Title {n}", f"https://i/{n}") for n in range(start, start + count)
    ]


def _block(kind: str, own: list[Product]) -> str:
    results = "".join(
        "<result>"
        + "".join(f"<{name}>{_text(value)}</{name}>" for name, value in product.as_dict().items())
        + "</result>"
        for product in own
    )
    kind = f"<recommendation_type>{escape(kind)}</recommendation_type>"
    return f"<recommendation>{kind}<results>{results}</results></recommendation>"


def _text(value: str | None) -> str:
    return escape(value or "", {"\r": "&#13;"})


def xml(users: Sequence[User]) -> bytes:
    lines = "".join(user.as_xml() for user in users)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<users>\n{lines}</users>\n'.encode()


def json_lines(users: Sequence[User]) -> bytes:
    return "".join(json.dumps(user.as_dict(), ensure_ascii=False) + "\n" for user in users).encode()


def json_array(users: Sequence[User], **style: Any) -> bytes:
    return json.dumps([user.as_dict() for user in users], **style).encode()


def batch_of(folder: Path, raw: bytes, suffix: str = "xml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"raw.{suffix}").write_bytes(raw)
    return folder


def settings(**more: Any) -> LinkBatch:
    return LinkBatch.model_validate({"link": "https://shop.example/batch.xml", "parts": 3, **more})


def read_parts(batch: Path, with_default: bool = True) -> list[dict[str, Any]]:
    """All rows, in the order of the parts."""
    paths = sorted((batch / "recommendations").glob("part-*.parquet"))
    if with_default and (batch / "default.parquet").exists():
        paths.append(batch / "default.parquet")
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def user_set(root: Path, name: str, ids: Sequence[str], recipients: Sequence[str | None] | None = None) -> UserSet:
    """An accepted list; its record holds what this room reads."""
    folder = root / "shop" / "user_sets" / name
    folder.mkdir(parents=True)
    pairs = sorted(zip(ids, recipients or [None] * len(ids), strict=True), key=lambda pair: pair[0].encode())
    columns = {"auth_user_id": [pair[0] for pair in pairs], "recipient": [pair[1] for pair in pairs]}
    table = pa.table({key: pa.array(values, pa.string()) for key, values in columns.items()})
    pq.write_table(table, str(folder / "ids.parquet"), filesystem=arrow(folder))
    return UserSet(
        folder, name, {"name": name, "rows": len(ids), "sha256": name, "sent_at": "2026-11-20T09:00:00.500Z"}
    )
