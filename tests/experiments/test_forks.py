"""Ranks forked from one process: each is as the process that asked for it, and ends with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVER = """
import os, socket, sys, time
from experiments import forks

def live():
    print(os.environ["WORD"], os.getpid(), flush=True)
    while os.environ["WORD"] == "stay":
        time.sleep(1)
    os._exit(3)

with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen()
    print(flush=True)
    forks.serve(listener, lambda: os.getppid() == 1, live)
"""


@pytest.fixture
def ask(tmp_path):
    """Starts a process that asks for a child."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("to enter namespaces takes root on Linux")
    line = [sys.executable, "-c", SERVER, str(tmp_path / "forks")]
    server = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE)
    server.stdout.readline()
    line = [sys.executable, "-m", "experiments.forks", str(tmp_path / "forks")]
    yield lambda word: subprocess.Popen(
        line, cwd=ROOT, env=os.environ | {"WORD": word}, stdout=subprocess.PIPE, text=True
    )
    server.kill()
    server.communicate()


def test_a_child_has_the_environment_and_files_of_who_asks_who_ends_as_it_ends(ask):
    asking = ask("hello")
    said, _ = asking.communicate(timeout=60)
    word, pid = said.split()
    assert (word, asking.returncode) == ("hello", 3)
    assert int(pid) != asking.pid


def test_a_child_dies_with_the_process_that_stands_for_it(ask):
    asking = ask("stay")
    child = int(asking.stdout.readline().split()[1])
    asking.send_signal(signal.SIGKILL)
    asking.communicate(timeout=60)
    end = time.monotonic() + 60
    while Path(f"/proc/{child}").exists():
        if time.monotonic() > end:
            pytest.fail("the child is still there")
        time.sleep(0.01)
