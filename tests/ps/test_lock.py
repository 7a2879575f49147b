"""Jobs that want the same folder: real processes, and locks that the dead have left."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from detox.ps import lock
from detox.ps.lock import Lock, LockedError, check_unlocked, is_held

HOLD = """
import sys
from pathlib import Path
from detox.ps.lock import Lock
with Lock(Path(sys.argv[1]), print).held():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_job_is_refused_with_host_and_process_of_the_first(holder, tmp_path):
    for attempt in (
        lambda: Lock(tmp_path, pytest.fail).held().__enter__(),
        lambda: check_unlocked(tmp_path, pytest.fail),
    ):
        with pytest.raises(LockedError, match=f"process {holder.pid} on host {os.uname().nodename}"):
            attempt()
    holder.communicate()
    with Lock(tmp_path, pytest.fail).held():
        assert (tmp_path / "lock").exists()
    assert not (tmp_path / "lock").exists()


def test_a_holder_that_stands_still_is_a_holder(holder, tmp_path):
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(LockedError):
        check_unlocked(tmp_path, pytest.fail)


def test_a_lock_that_a_killed_job_left_is_found_out_at_once(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert (tmp_path / "lock").exists()
    with Lock(tmp_path, pytest.fail).held():
        pass


def test_a_zombie_holds_nothing_for_long(holder, tmp_path):
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped
    assert f"pid={holder.pid}" in (tmp_path / "lock").read_text()
    assert not is_held(tmp_path)


def test_a_process_that_has_the_number_of_the_holder_by_chance_is_not_it(holder, tmp_path):
    path = tmp_path / "lock"
    text = path.read_text()
    holder.kill()
    holder.wait()
    path.write_text(text.replace(f"pid={holder.pid}", f"pid={os.getpid()}"))
    with Lock(tmp_path, pytest.fail).held():
        pass


@pytest.fixture
def elsewhere(holder, tmp_path, monkeypatch):
    """The lock of a process on another host; gives a function that is its sign of life."""
    monkeypatch.setattr(lock, "LEASE", 1.0)
    monkeypatch.setattr(lock, "BEAT", 0.2)
    path = tmp_path / "lock"
    lines = [line for line in path.read_text().splitlines() if not line.startswith(("host=", "duration="))]
    holder.kill()
    holder.wait()
    path.write_text("\n".join([*lines, "host=elsewhere", "duration=1.0", ""]))
    return path.touch


def test_a_job_on_another_host_is_waited_for_and_refuses_by_a_sign_of_life(elsewhere, tmp_path):
    said, over = [], threading.Event()

    def live():
        while not over.wait(0.02):
            elsewhere()

    living = threading.Thread(target=live)

    def say(text):
        said.append(text)
        living.start()

    try:
        with pytest.raises(LockedError, match="on host elsewhere"):
            check_unlocked(tmp_path, say)
    finally:
        over.set()
        living.join()
    assert "Waiting for a sign of life" in said[0]


def test_a_job_on_another_host_that_gives_no_sign_of_life_is_gone(elsewhere, tmp_path):
    with Lock(tmp_path, lambda _: None).held() as held:
        assert not held.lost


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", b"filelock/2\npid=", b"\xff\xfe"])
def test_a_lock_whose_content_was_lost_with_the_power_is_taken(tmp_path, monkeypatch, content):
    monkeypatch.setattr(lock, "BEAT", 0.1)
    (tmp_path / "lock").write_bytes(content)
    with Lock(tmp_path, pytest.fail).held():
        pass


def test_who_lost_the_folder_knows_it(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.02)
    with Lock(tmp_path / "run", pytest.fail).held() as held:
        (tmp_path / "run" / "lock").unlink()
        while not held.lost:
            pass
