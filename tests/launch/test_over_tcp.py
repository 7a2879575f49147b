"""Ranks go from one channel to TCP: keys for each, and an address that the others can dial."""

import platform
import socket
from dataclasses import dataclass, field

import pytest

from detox.config import Config, ConfigError, read_config
from detox.config.messages import TransportConfig
from detox.launch import launcher
from detox.launch.over_tcp import dial, listen
from detox.wire import Header, Kind
from detox.wire.connection import EntranceError
from detox.wire.memory import Network

LOCAL = TransportConfig(channel="tcp", listen="127.0.0.1")


@pytest.fixture
def ranks(monkeypatch):
    """The conversations of the PS and of ranks 1 and 2, all on this host, over what stands for MPI."""
    place(monkeypatch, 3, 3)
    network, ends = Network(), {}
    for rank in (1, 2):
        ends[rank] = network.session(rank, [0])
        ends[rank].expect({Kind.DIAL: 2**16})
    return network.session(0, [1, 2]), ends


def place(monkeypatch, size, here):
    """So many ranks, and so many of them on this host, as Open MPI says; None: it says nothing."""
    for name, value in (("OMPI_COMM_WORLD_SIZE", size), ("OMPI_COMM_WORLD_LOCAL_SIZE", here)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, str(value))


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, which is empty."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_ranks_go_on_over_tcp_with_a_key_each_and_no_key_is_left_on_the_disk(ranks, temporary):
    ps, ends = ranks
    channel, own = listen(ps, LOCAL)
    assert len(own.peers) == len(set(own.peers)) == 3
    for end in ends.values():
        came = []
        end.turn(came.append)
        dial(end, bytes(came[0].payload))
        end.expect({Kind.START: 9})
    assert list(temporary.iterdir()) == []
    ps.expect({Kind.JOIN: 16, Kind.READY: 9})
    heard, said = [], []
    while len(heard) < 2:
        ps.turn(heard.append)
        for end in ends.values():
            end.turn(said.append)
    assert {(message.source, message.header.kind) for message in heard} == {(1, Kind.JOIN), (2, Kind.JOIN)}
    ps.send([2], Header(Kind.START), b"config")
    while not said:
        ps.turn(heard.append)
        for end in ends.values():
            end.turn(said.append)
    assert [bytes(message.payload) for message in said] == [b"config"]
    channel.close()
    for end in ends.values():
        end.channel.close()


def test_where_nobody_can_listen_no_key_is_left_on_the_disk(ranks, temporary):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EntranceError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            listen(ranks[0], TransportConfig(channel="tcp", listen=f"127.0.0.1:{port}"))
    assert list(temporary.iterdir()) == []


def test_a_name_that_other_hosts_cannot_dial_is_told_at_once(ranks, monkeypatch):
    place(monkeypatch, None, None)
    unset = TransportConfig(channel="tcp")
    monkeypatch.setattr(platform, "node", lambda: "localhost")
    with pytest.raises(
        ConfigError, match=r"localhost, .* is (127|::).* other hosts cannot dial; .*transport\.listen = "
    ):
        listen(ranks[0], unset)
    monkeypatch.setattr(platform, "node", lambda: "no.such.host.invalid")
    with pytest.raises(ConfigError, match=r"cannot be looked up .*transport\.listen = "):
        listen(ranks[0], unset)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1:7070"])
def test_an_address_that_other_hosts_cannot_dial_is_told_where_there_are_some(ranks, monkeypatch, name):
    place(monkeypatch, 3, 1)
    with pytest.raises(ConfigError, match=r"transport\.listen: .* is (127|::).* other hosts cannot dial"):
        listen(ranks[0], TransportConfig(channel="tcp", listen=name))


@dataclass
class Door:
    """Lets nobody in that is absent.

    Attributes:
        absent, limits: see detox.wire.Door.
    """

    absent: set[int]
    limits: dict = field(default_factory=dict)

    @property
    def outside(self):
        return self.absent

    def take(self, message):
        return False


def test_once_somebody_takes_part_mpi_is_not_looked_at_any_more(ranks, monkeypatch):
    ps, _ = ranks  # of which none takes what it is told
    asked = []
    over_mpi = ps.channel
    monkeypatch.setattr(over_mpi, "sending", lambda rank: asked.append(rank) or 1)
    channel, _ = listen(ps, LOCAL)
    ps.door = Door({1, 2})
    ps.expect({})
    ps.wait(lambda: len(asked) >= 6, lambda message: None)
    assert set(asked) == {1, 2}
    asked.clear()
    list(channel.receive())  # where so much comes over TCP that there is no time to sleep
    assert asked == [1, 2]
    ps.door.absent.remove(1)
    asked.clear()
    turns = iter(range(5))
    ps.wait(lambda: next(turns, None) is None, lambda message: None)
    assert asked == []
    channel.close()


@pytest.mark.parametrize(
    ("content", "address"),
    [
        ("# f\u00fcr alle\n10.0.0.1\n10.0.0.2\n".encode("latin-1"), "10.0.0.1"),
        (b"fd00::1 slots=1\nfd00::2\n", "[fd00::1]"),
        (b"me@node0 slots = 2\nnode1\n", "node0"),
        (b"localhost slots=3\n", "localhost"),
        (b"127.0.0.1\n127.0.0.1\n", "127.0.0.1"),
    ],
)
def test_the_first_host_is_named_as_it_can_be_dialled(tmp_path, content, address):
    (tmp_path / "hosts").write_bytes(content)
    (option, told) = launcher.address(Config(transport={"channel": "tcp"}), str(tmp_path / "hosts"))
    (tmp_path / "run.toml").write_text('[transport]\nchannel = "tcp"\n')
    assert told == address
    assert read_config(str(tmp_path / "run.toml"), [option, told]).transport.listen == address


@pytest.mark.parametrize("host", ["localhost", "127.0.1.1", "::1", "LocalHost.localdomain", "me@localhost"])
def test_a_first_host_that_the_others_cannot_dial_is_refused_in_words(tmp_path, host):
    (tmp_path / "hosts").write_text(f"{host}\n10.0.0.2\n")
    with pytest.raises(ConfigError, match=r"hosts: the first host is .*, which the others cannot dial; .*listen = "):
        launcher.address(Config(transport={"channel": "tcp"}), str(tmp_path / "hosts"))
    assert launcher.address(Config(), str(tmp_path / "hosts")) == []


def test_slots_behind_a_colon_are_no_port(tmp_path):
    (tmp_path / "hosts").write_text("node0:4\nnode1:4\n")
    with pytest.raises(ConfigError, match=r"the first host is node0:4, with its slots .* transport\.listen = "):
        launcher.address(Config(transport={"channel": "tcp"}), str(tmp_path / "hosts"))


def test_the_first_host_of_a_hostfile_is_what_ranks_dial_unless_the_config_says(tmp_path):
    hostfile = tmp_path / "hosts"
    hostfile.write_text("# the PS\n\n10.0.0.1 slots=1\n10.0.0.2\n")
    tcp, told = Config(transport={"channel": "tcp"}), ["--transport.listen", "10.0.0.1"]
    assert launcher.address(tcp, str(hostfile)) == told
    assert launcher.address(tcp, None) == []
    assert launcher.address(Config(), str(hostfile)) == []
    assert launcher.address(Config(transport={"channel": "tcp", "listen": "h:7"}), str(hostfile)) == []
