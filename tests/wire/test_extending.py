"""A kind of message that is not ours, through the session as it is: a line in Kind, a payload, and who takes it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from detox.wire import Header, Kind, WireError

ROOT = Path(__file__).parents[2]
LINE = '''    TEMPERATURE = 99
    """Worker rank to PS, when it is asked: a Temperature."""
'''
PAYLOAD = '''

@dataclass(frozen=True)
class Temperature:
    """Payload of TEMPERATURE: degrees Celsius of the host's hottest part."""

    degrees: float

    LIMIT = 8

    def pack(self):
        return struct.pack("<d", self.degrees)

    @classmethod
    def unpack(cls, payload):
        if len(payload) != cls.LIMIT:
            raise WireError(f"{len(payload)} bytes are no TEMPERATURE")
        return cls(*struct.unpack("<d", payload))
'''
# The PS's session, and rank 1 that tells its temperature to whoever asks, twice.
TAKERS = """
from detox.wire import Header, Kind
from detox.wire.memory import Network
from detox.wire.messages import Temperature


def hear(message):
    for _ in range(2):
        worker.send([0], message.header, Temperature(81.5).pack())


network = Network()
worker = network.channel(1, [0], hear)
session = network.session(0, [1])
session.expect({Kind.TEMPERATURE: Temperature.LIMIT}, asked=[Kind.TEMPERATURE])

session.ask(1, Header(Kind.TEMPERATURE, 3), Kind.TEMPERATURE)
heard = list(session.receive())
assert [message.fault for message in heard] == ["", "40 bytes of kind 99 that were not asked for"], heard
assert heard[0].header.kind is Kind.TEMPERATURE
assert Temperature.unpack(heard[0].payload) == Temperature(81.5)
session.ask(1, Header(Kind.TEMPERATURE, 4), Kind.TEMPERATURE)
worker.send([0], Header(Kind.TEMPERATURE, 4), bytes(9))
assert "of which nothing so long is expected" in list(session.receive())[-1].fault
"""


def test_a_kind_of_ones_own_is_asked_for_bounded_and_admitted_once(tmp_path):
    """In a copy of the package, in which only wire/messages.py has more than ours."""
    package = tmp_path / "detox"
    package.mkdir()
    shutil.copy(ROOT / "__init__.py", package)
    for name in ("errors", "wire"):
        shutil.copytree(ROOT / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    messages = package / "wire" / "messages.py"
    before, after = messages.read_text().split("    START = 1\n")
    messages.write_text(f"{before}{LINE}    START = 1\n{after}{PAYLOAD}")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    line = [sys.executable, "-c", TAKERS]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_where_the_kind_is_unknown_it_is_no_message():
    frame = bytearray(Header(Kind.ECHO).pack(0))
    with pytest.raises(WireError, match="checksum"):
        Header.unpack(frame[:4] + b"\x63" + frame[5:])
    with pytest.raises(WireError, match="unknown kind 99"):
        Header.unpack(Header(99).pack(0))
