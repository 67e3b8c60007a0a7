"""A process that has imported what its work needs and forks a child for each piece of it, which a test may have killed.

Run as ``python -m tests.forks MODULE``; ``MODULE.main`` does the work.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Run = Callable[..., tuple[int, Any]]
"""Does one piece of work, killed after ``kill_after`` seconds; gives the exit code, and what ``main`` returned."""


@contextmanager
def forking(module: str) -> Iterator[Run]:
    """Start the process."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}
    command = [sys.executable, "-m", "tests.forks", module]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin
        assert server.stdout

        def run(*arguments: Any, kill_after: float | None = None) -> tuple[int, Any]:
            assert server.stdin
            assert server.stdout
            server.stdin.write(json.dumps({"arguments": arguments, "kill_after": kill_after}) + "\n")
            server.stdin.flush()
            answer = json.loads(server.stdout.readline())
            return answer["code"], json.loads(answer["said"] or "null")

        yield run
        server.stdin.close()


def _child(work: Callable[..., Any], asked: dict[str, Any], answers: int) -> None:
    code = 1
    try:
        if asked["kill_after"] is not None:
            threading.Timer(asked["kill_after"], os.kill, (os.getpid(), signal.SIGKILL)).start()
        os.write(answers, json.dumps(work(*asked["arguments"])).encode())
        code = 0
    except BaseException:  # noqa: BLE001  # the test sees the code
        traceback.print_exc()
    finally:
        os._exit(code)


def _serve(work: Callable[..., Any]) -> None:
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)  # what is logged is no answer
        for line in sys.stdin:
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                _child(work, json.loads(line), writing)
            os.close(writing)
            with os.fdopen(reading) as answer:
                said = answer.read()
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            print(json.dumps({"code": code, "said": said}), file=out, flush=True)


if __name__ == "__main__":
    _serve(import_module(sys.argv[1]).main)
