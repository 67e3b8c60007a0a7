"""What came of some runs, so that two places can be held against each other: byte by byte, but for times and places.

Data files (chunks, Parquet, feeds, batches as received) count with all their bytes. Records (``.json`` that are not
chunks) may differ in moments, durations and in where the store is; names of folders in moments. What platforms
confirmed is noted with the moment in each row: of those the other columns count.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq

from include.ledger import Ledger

MOMENT = re.compile(r"\d{4}-?\d\d-?\d\dT\d\d[:-]?\d\d[:-]?\d\d(\.\d+)?(Z|[+-]\d\d[:-]?\d\d)?")
_NOT_COMPARED = re.compile(
    r"ledger\.sqlite.*"  # compared as figures
    r"|.*\.lock"  # turns are taken elsewhere in a store
    r"|.*/sending-[0-9a-f]+/.*"  # one folder for each try
    r"|[^/]+/transactions/ledger\.json"  # names the ledger
)
_PLACE = re.compile(r'"(date|url|id)": "[^"]*"|"seconds": [\d.e-]+|~[0-9a-f]{12}')
"""In records: when and where a batch was fetched, how long something took, and the ids of tries."""


def of_folder(root: Path) -> dict[str, str]:
    """Hashes of a staging folder's files by their names."""
    files = ((str(path.relative_to(root)), path.read_bytes()) for path in root.rglob("*") if path.is_file())
    return _hashes(files, root.as_uri())


def of_store(address: str, uri: str) -> dict[str, str]:
    """Hashes of a staging prefix's objects by their names."""
    import boto3

    parts = urlsplit(uri)
    bucket, prefix = parts.netloc.rpartition("@")[2], parts.path.strip("/")
    client = boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )

    def objects() -> Iterator[tuple[str, bytes]]:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
            for found in page.get("Contents", []):
                body = client.get_object(Bucket=bucket, Key=found["Key"])["Body"].read()
                yield found["Key"].removeprefix(f"{prefix}/"), body

    return _hashes(objects(), uri)


def _hashes(files: Iterator[tuple[str, bytes]], root: str) -> dict[str, str]:
    kept = {name: content for name, content in files if not _NOT_COMPARED.fullmatch(name)}
    taken = {name.split("/")[2] for name in kept if re.search(r"/batches/[^/]+/for-", name)}
    hashes = {}
    for name, content in kept.items():
        found = re.fullmatch(r"[^/]+/batches/([0-9a-f]{64})/.*", name)
        if found and found[1] not in taken:
            continue  # whether a batch of another list was looked at, the moment decides
        data = _comparable(name, content, root)
        hashes[re.sub("~[0-9a-f]{12}", "", MOMENT.sub("T", name))] = hashlib.sha256(data).hexdigest()
    return dict(sorted(hashes.items()))


def _comparable(name: str, content: bytes, root: str) -> bytes:
    if name.endswith(".json") and "/chunks/" not in name:
        return _record(content, root)
    if "/deliveries/confirmed/" in name:
        rows = pq.read_table(io.BytesIO(content)).drop_columns(["noted_by", "noted_at"])
        return repr(rows.to_pydict()).encode()
    return content


def _record(content: bytes, root: str) -> bytes:
    text = json.dumps(json.loads(content), indent=1, sort_keys=True).replace(root.rstrip("/"), "STORE")
    return MOMENT.sub("T", _PLACE.sub("", text)).encode()


def difference(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """What only one has, or whose hashes differ, a line each."""
    lines = [f"only here: {name}" for name in one.keys() - other.keys()]
    lines += [f"only there: {name}" for name in other.keys() - one.keys()]
    lines += [f"not the same: {name}" for name in one.keys() & other.keys() if one[name] != other[name]]
    return sorted(lines)


def figures(ledger: Ledger) -> list[dict[str, Any]]:
    """What a ledger says was sent, by month and state."""
    return [month._asdict() for month in ledger.months("demo/transactions")]
