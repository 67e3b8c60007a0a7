"""A signed upload to the sandbox that streams from an object store, against the same upload from a local file.

The store is a stand-in of S3 that answers ranged reads of one file and does nothing else, so that what is measured is
our side: the reading ahead, the hashing, the sending. There is no local copy of the object.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.bench_upload import KEY, TRACKER, make, ours, repeated, sandbox
from benchmarks.harness import PROJECT, Case, Row, at_most, workplace

HERE = "benchmarks.bench_object_upload"


def run(quick: bool) -> list[Row]:
    size = 50_000_000 if quick else 1_000_000_000
    with workplace("object_upload") as folder:
        whole = make(folder / "transactions-00000.json", size)
        small = make(folder / "small.json", 10_000)
        with sandbox(folder / "state") as (url, _), store(folder) as address:
            extra = {"endpoint_url": address, "region_name": "us-east-1"}
            fields = {"conn_type": "aws", "login": "key", "password": "secret", "extra": extra}
            os.environ["AIRFLOW_CONN_BENCH"] = json.dumps(fields)
            idle = repeated({"idle client": of_store(url, small)}, 1, url)["idle client"]
            cases = {"from a store": of_store(url, whole), "from a file": ours(url, whole)}
            found = repeated(cases, 1 if quick else 5, url)
    streamed, local = found["from a store"], found["from a file"]
    more, speed = streamed.memory_mb - idle.memory_mb, size / streamed.seconds / 1e6
    what = f"upload of {size / 1e9:g} GB from an object store"
    return [
        at_most(what, streamed, "from a local file", local, 1.5, f"{speed:.0f} MB/s, no local copy"),
        Row(f"{what}: more memory than idle", None, "", None, None, "≤ 60 MB", more <= 60, more),
    ]


def of_store(url: str, made: dict[str, Any]) -> Case:
    arguments = {"url": url, "uri": f"s3://bench@bucket/{Path(made['path']).name}", "chunk": made["chunk"]}
    imports = ["luigisbox.client", "stores", "airflow.sdk.io", "airflow.providers.amazon.aws.fs.s3", "s3fs"]
    return Case(f"{HERE}:streamed", arguments, imports=imports)


def streamed(url: str, uri: str, chunk: dict[str, Any]) -> int:
    from include.staging import to_path
    from luigisbox.client import Client, Settings

    return Client(Settings(url, TRACKER, KEY)).upload_transactions(to_path(uri), chunk).bytes


@contextmanager
def store(folder: Path) -> Iterator[str]:
    """The files of a folder as objects of a bucket; gives the address."""
    command = [sys.executable, "-m", HERE, str(folder)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


class _Objects(BaseHTTPRequestHandler):
    folder: Path
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(None)

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self._answer((int(asked[1]), int(asked[2])) if asked else None, self.connection.fileno())

    def _answer(self, asked: tuple[int, int] | None, to: int | None = None) -> None:
        path = self.folder / self.path.partition("?")[0].rpartition("/")[2]
        if not path.is_file():
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        size = path.stat().st_size
        first, last = asked or (0, size - 1)
        last = min(last, size - 1)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("ETag", f'"{hashlib.md5(path.name.encode()).hexdigest()}"')
        self.send_header("Last-Modified", "Sun, 01 Mar 2026 12:00:00 GMT")
        self.end_headers()
        with path.open("rb") as handle:
            while to is not None and first <= last:
                first += os.sendfile(to, handle.fileno(), first, last + 1 - first)

    def log_message(self, *values: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    _Objects.folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Objects)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
