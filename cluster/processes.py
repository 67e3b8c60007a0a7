"""The services of a compose file as processes: each with a home of its own, watched by the file's own health checks.

What a container would have is given to each: an environment with nothing of the caller's in it, a host name, a home, a
temporary folder, its configs and mounts. Names of services with their ports become addresses of this machine.
"""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster.compose import Service
from cluster.system import free_port, kill_tree, spawn, tail
from demo.processes import DemoError, undisturbed
from include.staging import PROJECT_ROOT

HOME = "/opt/airflow"
"""Airflow's home in the image."""
LOOPBACK = "127.0.0.1"
MACHINE = {("postgres", 5432): 5432, ("redis", 6379): 6379}
"""Services that this machine has already, and their ports."""
CHECK_SECONDS = 60.0
GRACE_SECONDS = 20.0
"""How long processes have to end when they are asked to."""


def hostname() -> str:
    """The name of the host that a process plays, for Airflow's ``[core] hostname_callable``."""
    return os.environ["HOSTNAME"]


@dataclass(frozen=True)
class Place:
    """Where a process runs.

    Args:
        home: its ``AIRFLOW_HOME``, ``HOME`` and working directory; by default one of its own in the cluster's folder.
        prefix: a command that runs the command, such as ``ip netns exec host1``.
        gateway: the address under which it reaches all services.
        bind: the address on which it listens, where the file says 0.0.0.0.
        dags: the folder of DAG files.
        mounts: folders that stand for those the file mounts, by the path in the container.
        environment: more variables, and other values.
    """

    home: Path | None = None
    prefix: Sequence[str] = ()
    gateway: str = LOOPBACK
    bind: str = LOOPBACK
    dags: Path = PROJECT_ROOT / "dags"
    mounts: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Running:
    """One process of the cluster: what it was started with; ``ports`` are its own, by those of the file."""

    name: str
    service: Service
    command: list[str]
    environment: dict[str, str]
    home: Path
    log: Path
    prefix: Sequence[str]
    ports: dict[int, int]
    process: subprocess.Popen[bytes]


class Cluster:
    """Processes of services, all gone when the ``with`` block ends."""

    def __init__(self, services: Mapping[str, Service], folder: Path, place: Place | None = None) -> None:
        """Start nothing yet.

        Args:
            services: of the compose file.
            folder: where homes and logs lie.
            place: where services run that are started without a place of their own.
        """
        self.services = services
        self.folder = folder
        self.place = place or Place()
        self.running: dict[str, Running] = {}
        ports = ((name, port) for name, service in services.items() for port in service.ports)
        self._ports = {one: free_port() for one in ports} | MACHINE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with undisturbed():
            self._stop()

    def _stop(self) -> None:
        for one in reversed(self.running.values()):
            if one.process.poll() is None:
                one.process.terminate()
        until = time.monotonic() + GRACE_SECONDS
        for one in self.running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.process.wait(max(0.1, until - time.monotonic()))
            kill_tree(one.process)

    def address(self, service: str, port: int, gateway: str = LOOPBACK) -> str:
        """Where a service's port is reached, as ``host:port``."""
        return f"{gateway}:{self._ports[service, port]}"

    def start(self, service: str, name: str = "", place: Place | None = None, more: Sequence[str] = ()) -> Running:
        """Start one process of a service.

        Args:
            service: its name in the file.
            name: of the process and of its host, if it is not the service's.
            place: where it runs.
            more: words after those of the file's command.
        """
        found, name, place = self.services[service], name or service, place or self.place
        home = place.home or self.folder / name
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        # A second process of a service has ports of its own; the first has those by which the others know it.
        ports = {port: self._ports[service, port] if name == service else free_port() for port in found.ports}
        translate = self._translator(found, home, place, ports)
        for target, content in found.configs.items():
            Path(translate(target)).write_text(content, "utf-8")
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "HOSTNAME": name,
            "PYTHONUNBUFFERED": "1",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "cluster.processes.hostname",
            **{key: translate(value) for key, value in {**found.environment, **place.environment}.items()},
        }
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [*place.prefix, *(translate(word) for word in found.command), *more]
        healthcheck = tuple(translate(word) for word in found.healthcheck)
        process = spawn(command, environment, home, log)
        found = replace(found, healthcheck=healthcheck)
        self.running[name] = Running(name, found, command, environment, home, log, place.prefix, ports, process)
        return self.running[name]

    def _translator(self, service: Service, home: Path, place: Place, ports: Mapping[int, int]) -> Callable[[str], str]:
        """What turns a text of the file into one that holds here."""
        paths = {HOME: home, f"{HOME}/dags": place.dags, **service.mounts, **place.mounts}
        words = {str(inside): str(outside) for inside, outside in ports.items()} | {"0.0.0.0": place.bind}  # noqa: S104

        def translate(text: str) -> str:
            if text in words:
                return words[text]
            for (other, inside), outside in self._ports.items():
                text = re.sub(rf"(?<![\w.-]){re.escape(other)}:{inside}\b", f"{place.gateway}:{outside}", text)
            for inside, outside in ports.items():
                text = re.sub(rf"\blocalhost:{inside}\b", f"{_own(place)}:{outside}", text)
            for path in sorted(paths, key=len, reverse=True):
                text = re.sub(rf"(?<![\w/]){re.escape(path)}(?![\w-])", str(paths[path]), text)
            return text

        return translate

    def run(self, service: str, seconds: float, place: Place | None = None) -> None:
        """Run a service that ends, such as ``init``, to its end.

        Raises:
            DemoError: it failed, or did not end in time.
        """
        one = self.start(service, place=place)
        try:
            code = one.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise DemoError(f"{service} did not end within {seconds:.0f} s; see {one.log}") from None
        if code:
            raise DemoError(f"{service} ended with {code}; see {one.log}\n{tail(one.log)}")

    def kill(self, name: str) -> None:
        """Kill a process with all that it started, as if its host died."""
        kill_tree(self.running[name].process)

    def restart(self, name: str) -> None:
        """Start a process that has ended once more, with the same home and the same ports."""
        one = self.running[name]
        one.process = spawn(one.command, one.environment, one.home, one.log)

    def healthy(self, name: str) -> bool:
        """Whether the process lives and passes the file's health check now; one without a check needs but to live."""
        one = self.running[name]
        if one.process.poll() is not None:
            return False
        if not one.service.healthcheck:
            return True
        kind, *test = one.service.healthcheck
        command = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        try:
            found = subprocess.run(
                [*one.prefix, *command],
                env=one.environment,
                cwd=one.home,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=CHECK_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        return found.returncode == 0

    def wait_healthy(self, names: Iterable[str], seconds: float, tell: Callable[[str], None] = lambda _: None) -> None:
        """Wait until each process has been healthy once.

        Args:
            names: of processes.
            seconds: how long to wait for all of them.
            tell: is told each name as it becomes healthy.

        Raises:
            DemoError: one ended by itself, or was not healthy in time.
        """
        until, left = time.monotonic() + seconds, list(names)
        while left:
            with ThreadPoolExecutor(2) as pool:
                found = dict(zip(left, pool.map(self.healthy, left), strict=True))
            for name, healthy in found.items():
                one = self.running[name]
                if healthy:
                    left.remove(name)
                    tell(name)
                elif one.process.poll() is not None:
                    raise DemoError(f"{name} ended by itself; see {one.log}\n{tail(one.log)}")
            if left and time.monotonic() > until:
                raise DemoError(f"not healthy within {seconds:.0f} s: {', '.join(left)}; see {self.folder / 'logs'}")
            time.sleep(0.5 if left else 0)


def _own(place: Place) -> str:
    """The address at which a process reaches itself."""
    return LOOPBACK if place.bind == "0.0.0.0" else place.bind  # noqa: S104
