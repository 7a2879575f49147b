"""Ranks go from one channel to TCP: keys for each, and an address that the others can dial."""

import platform
import socket

import pytest

from detox.config import Config, ConfigError
from detox.config.messages import TransportConfig
from detox.launch.launcher import address
from detox.launch.over_tcp import dial, listen
from detox.wire import Header, Kind
from detox.wire.connection import EntranceError
from detox.wire.memory import Network

LOCAL = TransportConfig(channel="tcp", listen="127.0.0.1")


@pytest.fixture
def ranks():
    """The conversations of the PS and of ranks 1 and 2, over what stands for MPI."""
    network, ends = Network(), {}
    for rank in (1, 2):
        ends[rank] = network.session(rank, [0])
        ends[rank].expect({Kind.DIAL: 2**16})
    return network.session(0, [1, 2]), ends


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, which is empty."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_ranks_go_on_over_tcp_with_a_key_each_and_no_key_is_left_on_the_disk(ranks, temporary):
    ps, ends = ranks
    channel, own = listen(ps, LOCAL)
    assert len(own.peers) == len(set(own.peers)) == 2
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
    monkeypatch.delenv("OMPI_COMM_WORLD_SIZE", raising=False)
    unset = TransportConfig(channel="tcp")
    monkeypatch.setattr(platform, "node", lambda: "localhost")
    with pytest.raises(
        ConfigError, match=r"localhost, .* is (127|::).* other hosts cannot dial; .*transport\.listen = "
    ):
        listen(ranks[0], unset)
    monkeypatch.setattr(platform, "node", lambda: "no.such.host.invalid")
    with pytest.raises(ConfigError, match=r"cannot be looked up .*transport\.listen = "):
        listen(ranks[0], unset)


def test_the_first_host_of_a_hostfile_is_what_ranks_dial_unless_the_config_says(tmp_path):
    hostfile = tmp_path / "hosts"
    hostfile.write_text("# the PS\n\n10.0.0.1 slots=1\n10.0.0.2\n")
    tcp, told = Config(transport={"channel": "tcp"}), ["--transport.listen", "10.0.0.1"]
    assert address(tcp, str(hostfile)) == told
    assert address(tcp, None) == []
    assert address(Config(), str(hostfile)) == []
    assert address(Config(transport={"channel": "tcp", "listen": "h:7"}), str(hostfile)) == []
