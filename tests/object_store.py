"""An S3 server over a real socket, for tests: moto's, in a process of its own."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

BUCKET = "shop"
CONNECTION = "store"


@contextmanager
def s3_server(host: str = "127.0.0.1") -> Iterator[str]:
    """Start one and make the bucket ``shop``; gives its address."""
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://{host}:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(urllib.request.Request(f"{address}/{BUCKET}", method="PUT"), timeout=5)
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


def connection(address: str, name: str = CONNECTION, **more: object) -> dict[str, str]:
    """Environment variables that make the Airflow connection ``store``, or one of another name."""
    extra = {"endpoint_url": address, "region_name": "us-east-1", **more}
    fields = {"conn_type": "aws", "login": "key", "password": "secret", "extra": extra}
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields)}


def contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of everything below a folder, there or on a disk, by its name."""
    from include.objects import ObjectPath

    if isinstance(folder, ObjectPath):
        found = folder.fs.cat(folder.fs.find(str(folder)))  # all at the same time
        start = len(str(folder).partition("://")[2]) + 1
        return {name[start:]: sha256(content).hexdigest() for name, content in found.items()}
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


def use(address: str) -> None:
    """Set it for this process."""
    os.environ.update(connection(address))
