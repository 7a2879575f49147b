"""detox-ps keys, serve and join at the command line; what they do on the wire is in tests/wire and tests/hostile."""

import os
import re
import subprocess
import sys
import time

import pytest
from one_process import CONFIG

from detox.config import Config, ConfigError
from detox.config.address import parse_address
from detox.launch import commands, listen
from detox.wire.keys import Keys, KeysError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("listen")
    (folder / "run.toml").write_text(CONFIG)
    assert commands.COMMANDS["keys"].run("keys")(["-p", "3", str(folder / "keys")]) == 0
    return folder


def serve(folder, *words):
    argv = [str(folder / "run.toml"), "--keys", str(folder / "keys"), *words]
    return commands.COMMANDS["serve"].run("serve")(argv)


def test_keys_prints_the_fingerprints_of_what_it_makes(tmp_path, capsys):
    commands.COMMANDS["keys"].run("keys")(["-p", "2", str(tmp_path / "keys")])
    printed = dict(re.findall(r"^([0-9a-f]{64})  .*/(\S+)$", capsys.readouterr().out, re.MULTILINE))
    assert printed == {Keys(tmp_path / "keys" / name).fingerprint: name for name in ("ps", "worker-0", "worker-1")}
    with pytest.raises(ConfigError, match="-p 0"):
        commands.COMMANDS["keys"].run("keys")(["-p", "0", str(tmp_path / "more")])


def test_an_address_has_a_host_and_a_port():
    assert parse_address("--listen", "10.0.0.1:7070") == ("10.0.0.1", 7070)
    assert parse_address("--listen", "[::1]:0") == ("::1", 0)
    for wrong in ("7070", "host:", "host:x", "host:70000", "::1:7070"):
        with pytest.raises(ConfigError, match="HOST:PORT is wanted"):
            parse_address("--listen", wrong)


@pytest.mark.parametrize("address", ["0.0.0.0:7070", "[::]:7070", ":7070"])
def test_root_listens_on_all_addresses_only_if_that_is_said(folder, monkeypatch, address):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigError, match=r"as root, on all addresses .* say --as-root"):
        serve(folder, "--listen", address, "--q", "0")


def test_keys_of_other_workers_than_the_config_has_are_told(folder):
    with pytest.raises(ConfigError, match=r"p = 9, but .* has keys of 3 workers"):
        serve(folder, "--listen", "127.0.0.1:0", "--q", "0")
    with pytest.raises(KeysError, match="No such file"):
        serve(folder, "--listen", "127.0.0.1:0", "--q", "0", "--keys", str(folder))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"workers_per_rank": 3}, "workers_per_rank"),
        ({"groups_within": "class", "transport": {"p_min": 6}}, "of workers that come later nobody knows the class"),
        ({"servers": 2}, "servers = 2"),
    ],
)
def test_what_takes_mpirun_is_told_at_once(fields, words):
    with pytest.raises(ConfigError, match=words):
        listen.check(Config(p=9, r=3, **fields))


def test_three_processes_join_a_fourth_and_all_end(folder):
    detox = [sys.executable, "-P", "-m", "detox.launch"]
    told = folder / "ps.txt"
    relay, own = ("--transport.relay", "relay"), ("--listen", "127.0.0.1:0")
    with told.open("w") as output:
        ps = subprocess.Popen(
            [*detox, "serve", "run.toml", "--listen", "127.0.0.1:0", "--p", "3", "--q", "0", "--steps", "5", *relay],
            cwd=folder, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    workers = []
    try:
        while not (port := re.search(r"listens on 127\.0\.0\.1:(\d+)", told.read_text())):
            assert ps.poll() is None, told.read_text()
            time.sleep(0.05)
        workers = [
            subprocess.Popen(
                [*detox, "join", f"127.0.0.1:{port.group(1)}", "--keys", f"keys/worker-{worker}", *own[: 2 * worker]],
                cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for worker in range(3)
        ]  # fmt: skip
        assert ps.wait(120) == 0, told.read_text()
        said = [worker.communicate(timeout=60)[0] for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0, 0], said
        assert all("connected" in text for text in said)
    finally:
        for process in (ps, *workers):
            if process.poll() is None:
                process.kill()
                process.wait()
