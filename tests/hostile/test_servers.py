"""Two servers over TCP: hostile workers towards the second, and what becomes of the run when it is cut off."""

import os
from pathlib import Path

import numpy as np
import pytest
from loopback import MB, OFFENCES, train

from detox.wire import Header, Kind
from detox.wire.mesh import Mesh
from detox.wire.tcp import Channel
from detox.worker.around import Around

P = 7  # ranks: a server, and six of a worker each
HOSTILE = (2, 5)  # ranks; of the two groups the first worker each
CONFIG = """
task = "wide:Wide"
p = 6
q = 0
batch_size = 1
steps = 6
groups = "fixed"
checkpoint_every = 2

[aggregator]
name = "mean"

[transport]
deadline = 3.0
fetch_deadline = 1.0
"""


@pytest.fixture
def run(job_folder):
    """Runs the job in a folder of that name, where it resumes, with two servers unless said otherwise."""

    def _run(name, servers=2, act=lambda network: None, **more):
        folder = job_folder / name
        if not folder.exists():
            folder.mkdir()
            (folder / "keys").symlink_to(job_folder / "keys")
            (folder / "wide.py").write_text((Path(__file__).parents[1] / "jobs" / "wide.py").read_text())

        def prepare(network):
            network.listens = range(1, P + 1)
            act(network)

        return train(folder, "--servers", str(servers), p=5 + servers, config=CONFIG, prepare=prepare, **more)

    return _run


class Hostile(Around):
    """Whatever it sends the server comes with what is too long, garbage, and floods of what nobody asked for."""

    def send(self, peers, header, payload=b""):
        for content in (
            Header(Kind.GRADIENT, header.step, header.worker, header.file).pack(2**40),
            os.urandom(5000),
            *(Header(kind, header.step, header.worker).pack(32) + bytes(32) for kind in Kind for _ in range(10)),
        ):
            self.send_frame(self.peers, 0, np.frombuffer(content, np.uint8))
        super().send(peers, header, payload)


def test_what_hostile_workers_send_the_second_server_changes_no_bit(run):
    class Sends(Mesh):
        def near(self, peers):
            session = super().near(peers)
            session.channel = Hostile(session.channel)
            return session

    def act(network):
        network.reaches = dict.fromkeys(HOSTILE, lambda *_: Sends)

    one = run("one", servers=1)  # first, for what a process takes once
    honest, hostile = run("honest"), run("hostile", act=act)
    assert hostile.status == 0, hostile.text
    assert not hostile.errors
    assert hostile.summary["weights_digest"] == honest.summary["weights_digest"]
    assert hostile.summary["weights_digest"] == one.summary["weights_digest"]
    assert hostile.growth - honest.growth < 64 * MB
    assert not {line["worker"] + 2 for line in hostile.ledger if line["kind"] in OFFENCES} - set(HOSTILE)


class CutOff(Channel):
    """The server's end, of which the connection is reset in step 4."""

    cut = False

    def send(self, peers, header, payload=b""):
        if header.step == 4 and not self.cut:
            self.cut = True
            for connection in list(self._connections.values()):
                connection.end("reset")
        super().send(peers, header, payload)


def test_a_server_that_was_cut_off_ends_the_run_which_resumes_to_the_same_bits(run):
    broken = run("broken", hostile={1: CutOff})
    assert broken.status == 1
    assert "server 1 " in broken.text
    assert "the same command resumes the run from its checkpoint" in broken.text
    again = run("broken")
    assert "resumed after step" in again.text
    assert again.summary["weights_digest"] == run("one", servers=1).summary["weights_digest"]
