"""Services as processes: what a container would have, they have; and they end when they should."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from cluster.compose import read_compose
from cluster.processes import Cluster, Place
from cluster.services import own
from demo.processes import DemoError
from include.staging import PROJECT_ROOT

FILE = """
services:
  web:
    command: [python, -m, http.server, "8000", --bind, 0.0.0.0]
    expose: ["8000"]
    environment: {SECRET: "${SECRET:?say it}", PLAIN: /opt/airflow/x, SELF: "http://localhost:8000", PORT: "8000"}
    configs: [{source: page, target: /opt/airflow/page.txt}]
    volumes: [{type: bind, source: ./shop, target: /shop}, "data:/data"]
    healthcheck: {test: [CMD-SHELL, 'test -n "$$HOSTNAME" && python -c "import urllib.request as u; u.urlopen(''http://localhost:8000'')"']}
  other:
    command: [bash, -c, 'trap "exit 0" TERM; echo "$$WEB $$DB $$SHOP"; sleep 600 & setsid sleep 601 & wait']
    environment: {WEB: http://web:8000/x, DB: "postgresql://u:p@postgres:5432/db", SHOP: /shop/list}
    volumes: [{type: bind, source: ./shop, target: /shop}, "data:/data"]
  slow:
    command: [bash, -c, 'trap "sleep 2; exit 0" TERM; touch "$$HOME/waits"; sleep 600 & wait']
  failing:
    command: [bash, -c, echo no luck; exit 3]
configs:
  page: {content: "it is ${SECRET}"}
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    (tmp_path / "shop").mkdir()
    (tmp_path / "compose.yaml").write_text(FILE, "utf-8")
    return Cluster(read_compose({"SECRET": "s3cret"}, tmp_path / "compose.yaml"), tmp_path / "homes")


def answer(address: str) -> str:
    return urllib.request.urlopen(f"http://{address}/page.txt", timeout=5).read().decode()


def test_a_service_has_its_own_home_name_ports_and_configs(cluster: Cluster, tmp_path: Path) -> None:
    with cluster:
        web = cluster.start("web")
        second = cluster.start("web", "web-2")
        cluster.wait_healthy(["web", "web-2"], 30)
        assert answer(cluster.address("web", 8000)) == "it is s3cret"
        assert answer(f"127.0.0.1:{second.ports[8000]}") == "it is s3cret"
        assert web.ports != second.ports
        assert web.home == tmp_path / "homes" / "web"
        assert second.environment["HOSTNAME"] == "web-2"
        assert second.environment["PLAIN"] == str(tmp_path / "homes" / "web-2" / "x")
        assert second.environment["SELF"] == f"http://127.0.0.1:{second.ports[8000]}"
        assert second.environment["PORT"] == str(second.ports[8000])
        assert "PYTEST_CURRENT_TEST" not in second.environment
    assert web.process.poll() is not None
    assert second.process.poll() is not None


def test_names_of_services_become_addresses(cluster: Cluster, tmp_path: Path) -> None:
    place = Place(gateway="10.9.8.7", mounts={"/shop": tmp_path / "copy"}, environment={"DB": "x@web:8000"})
    with cluster:
        first, second = cluster.start("other"), cluster.start("other", "there", place)
    port = cluster.address("web", 8000).partition(":")[2]
    assert first.environment["WEB"] == f"http://127.0.0.1:{port}/x"
    assert first.environment["DB"] == "postgresql://u:p@127.0.0.1:5432/db"
    assert first.environment["SHOP"] == str(tmp_path / "shop" / "list")
    assert second.environment["WEB"] == f"http://10.9.8.7:{port}/x"
    assert second.environment["SHOP"] == str(tmp_path / "copy" / "list")
    assert second.environment["DB"] == f"x@10.9.8.7:{port}"


def sleepers(cluster: Cluster) -> list[psutil.Process]:
    """The children of ``other``, one of them in a session of its own."""
    for _ in range(100):
        found = psutil.Process(cluster.running["other"].process.pid).children(recursive=True)
        if len(found) == 2 and all("sleep" in each.cmdline() for each in found):
            return found
        time.sleep(0.05)
    raise AssertionError("the children did not start")


def test_a_killed_process_takes_all_its_children_with_it_and_can_be_started_again(cluster: Cluster) -> None:
    with cluster:
        cluster.start("other")
        children = sleepers(cluster)
        cluster.kill("other")
        assert cluster.running["other"].process.returncode == -signal.SIGKILL
        psutil.wait_procs(children, 5)
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        assert not cluster.healthy("other")
        cluster.restart("other")
        assert cluster.healthy("other")
        assert len(sleepers(cluster)) == 2
    assert cluster.running["other"].process.returncode == 0  # it was asked to end, and did


def test_one_that_ends_by_itself_is_told_with_its_last_words(cluster: Cluster) -> None:
    with cluster:
        with pytest.raises(DemoError, match=r"failing ended with 3; see .*failing\.log\nno luck"):
            cluster.run("failing", 10)
        cluster.start("failing")
        cluster.running["failing"].process.wait(10)
        with pytest.raises(DemoError, match=r"failing ended by itself; see .*failing\.log\nno luck"):
            cluster.wait_healthy(["failing"], 10)
        with pytest.raises(DemoError, match=r"other did not end within 0 s"):
            cluster.run("other", 0.2)


def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "compose.yaml").write_text(FILE, "utf-8")
    source = (
        "import json, sys, time\nfrom pathlib import Path\nfrom cluster.compose import read_compose\n"
        "from cluster.processes import Cluster\nfolder = Path(sys.argv[1])\n"
        "cluster = Cluster(read_compose({'SECRET': 's'}, folder / 'compose.yaml'), folder / 'homes')\n"
        "print(json.dumps(cluster.start('web').process.pid), flush=True)\ntime.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", source, str(tmp_path)], stdout=subprocess.PIPE, cwd=PROJECT_ROOT, text=True
    )
    assert parent.stdout
    child = psutil.Process(json.loads(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    for _ in range(100):
        if not child.is_running() or child.status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.1)
    else:
        child.kill()
        raise AssertionError("the child lives on")


def test_a_second_interrupt_leaves_nothing_behind(cluster: Cluster) -> None:
    wait = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    try:
        with cluster:
            slow = cluster.start("slow")
            while not (slow.home / "waits").exists():
                time.sleep(0.05)
            wait.start()
    except KeyboardInterrupt:
        raise AssertionError("the end was broken off") from None
    assert not wait.is_alive()
    assert slow.process.poll() == 0
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


@pytest.mark.parametrize("name", ["airflow", "newsletters_x; DROP DATABASE y", ""])
def test_databases_of_others_are_left_alone(name: str) -> None:
    with pytest.raises(DemoError, match="not a database of the cluster"):
        own(name)
