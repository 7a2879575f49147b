"""A kind of message that is not ours, through the session as it is: a line in Kind, a payload, and who takes it."""

import struct
from dataclasses import dataclass
from enum import IntEnum

import pytest

from detox.wire import Header, Kind, WireError, messages
from detox.wire.memory import Network

ToyKind = IntEnum("ToyKind", {**{kind.name: kind.value for kind in Kind}, "TEMPERATURE": 99})


@dataclass(frozen=True)
class Temperature:
    """Payload of TEMPERATURE, worker rank to PS, when it is asked: degrees Celsius of the host's hottest part."""

    degrees: float

    LIMIT = 8

    def pack(self):
        return struct.pack("<d", self.degrees)

    @classmethod
    def unpack(cls, payload):
        if len(payload) != cls.LIMIT:
            raise WireError(f"{len(payload)} bytes are no TEMPERATURE")
        return cls(*struct.unpack("<d", payload))


@pytest.fixture
def hosts(monkeypatch):
    """The PS's session, and rank 1 that tells its temperature to whoever asks, twice."""
    monkeypatch.setattr(messages, "Kind", ToyKind)
    network = Network()

    def hear(message):
        for _ in range(2):
            worker.send([0], message.header, Temperature(81.5).pack())

    worker = network.channel(1, [0], hear)
    session = network.session(0, [1])
    session.expect({ToyKind.TEMPERATURE: Temperature.LIMIT}, asked=[ToyKind.TEMPERATURE])
    return session, worker


def test_a_kind_of_ones_own_is_asked_for_bounded_and_admitted_once(hosts):
    session, worker = hosts
    session.ask(1, Header(ToyKind.TEMPERATURE, 3), ToyKind.TEMPERATURE)
    heard = list(session.receive())
    assert [message.fault for message in heard] == ["", "40 bytes of kind 99 that were not asked for"]
    assert heard[0].header.kind is ToyKind.TEMPERATURE
    assert Temperature.unpack(heard[0].payload) == Temperature(81.5)
    session.ask(1, Header(ToyKind.TEMPERATURE, 4), ToyKind.TEMPERATURE)
    worker.send([0], Header(ToyKind.TEMPERATURE, 4), bytes(9))
    assert "of which nothing so long is expected" in list(session.receive())[-1].fault


def test_where_the_kind_is_unknown_it_is_no_message():
    with pytest.raises(WireError, match="unknown kind 99"):
        Header.unpack(Header(ToyKind.TEMPERATURE).pack(0))
