"""Machines made of namespaces: a network, a process table, a host name and a disk of their own each.

A machine's disk is its folder; the folders of the others are not there for it, and what is installed (this checkout)
cannot be written to. Killing its first process ends all of its processes at once. Where namespaces are not permitted
(``permitted`` says why) machines are folders and processes only.
"""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from include.staging import PROJECT_ROOT

_BOOT = """
hostname "$1"; mount --bind "$2" /mnt; mount -t tmpfs none "$3"; mkdir -p "$2"; mount --move /mnt "$2"
mount --bind "$4" "$4"; mount -o remount,ro,bind "$4"
cd "$2"; shift 4; exec "$@"
"""


@dataclass(frozen=True)
class Machine:
    """A machine: its only folder, and the words that start a process on it."""

    name: str
    address: str
    folder: Path
    prefix: list[str]


@dataclass(frozen=True)
class Lan:
    """``gateway`` is the address at which machines reach what runs outside of them."""

    gateway: str
    machines: dict[str, Machine]


def permitted() -> str:
    """Why namespaces cannot be had here; empty if they can."""
    try:
        with lan(Path("/proc"), []):
            subprocess.run(["unshare", "--mount", "--pid", "--fork", "--uts", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or b""
        return f"{error} {said.decode(errors='replace').strip()}"
    return ""


@contextmanager
def lan(folder: Path, names: list[str]) -> Iterator[Lan]:
    """A network of machines, each with a folder in ``folder``; gone after the block.

    Raises:
        subprocess.CalledProcessError: not permitted.
        OSError: a command is missing.
    """
    mark = uuid4().hex[:6]
    net = f"10.{77 + int(mark[:2], 16) % 100}.{int(mark[2:4], 16)}"
    with ExitStack() as stack:
        bridge = f"nl{mark}"
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        machines = {}
        for number, name in enumerate(names, 2):
            space, cable, address = f"{bridge}-{number}", f"nv{mark}{number}", f"{net}.{number}"
            _ip("netns", "add", space)
            stack.callback(_ip, "netns", "del", space)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", cable, "master", bridge, "up")
            _ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")
            own = _disk(folder / name)
            prefix = [
                *("ip", "netns", "exec", space, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts"),
                *("--mount-proc", "sh", "-ec", _BOOT, "boot", name, str(own), str(folder), str(PROJECT_ROOT)),
            ]
            machines[name] = Machine(name, address, own, prefix)
        yield Lan(f"{net}.1", machines)


def folders_only(folder: Path, names: list[str]) -> Lan:
    """Machines that are folders: no address and no disk of their own."""
    made = {name: _disk(folder / name) for name in names}
    return Lan("127.0.0.1", {name: Machine(name, "127.0.0.1", own, []) for name, own in made.items()})


def _disk(folder: Path) -> Path:
    (folder / "tmp").mkdir(parents=True)
    return folder


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
