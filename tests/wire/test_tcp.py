"""What the channel over TCP adds to the contract of channels: who may come in, who may stay, and who comes back."""

import contextlib
import os
import select
import shutil
import socket
import ssl
import stat
import tempfile
import time
from collections import Counter

import pytest
from channel_ends import End
from key_updates import Updater

from detox.wire import ENDLESS, Header, Kind, keys
from detox.wire.connection import EntranceError
from detox.wire.dialer import Dialer
from detox.wire.keys import Keys, KeysError
from detox.wire.listener import Listener
from detox.wire.tcp import Channel


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tcp")
    keys.make(folder / "keys", range(2))
    keys.make(folder / "strangers", range(2))
    return folder


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def listener(folder, clock):
    listener = Listener(("127.0.0.1", 0), Keys(folder / "keys" / keys.PS), clock)
    yield listener
    listener.close()


@pytest.fixture
def ps(listener):
    ps = Channel(listener, [1, 2])
    yield ps
    ps.close()


@pytest.fixture
def dial(folder, listener):
    made = []

    def dial(worker, whose="keys", **options):
        own = Keys(folder / whose / keys.worker_folder(worker))
        made.append(End(Channel(Dialer(("127.0.0.1", listener.port), own), [0], **options)))
        return made[-1]

    yield dial
    for end in made:
        end.channel.close()


def until(condition, *channels):
    """Lets the channels go on until something is so; what they have heard."""
    heard, end = [], time.monotonic() + 20
    while not condition():
        for channel in channels:
            heard += channel.receive()
        if time.monotonic() > end:
            pytest.fail(f"it does not come; so far {heard}")
    return heard


def test_secrets_are_their_owners_alone_and_no_two_are_the_same(folder):
    secrets = sorted((folder / "keys").rglob(keys.SECRET))
    assert [path.parent.name for path in secrets] == ["ps", "worker-0", "worker-1"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in secrets} == {0o700}
    assert len({Keys(path.parent).fingerprint for path in secrets}) == 3


def test_keys_that_others_can_read_are_none_or_are_there_already_are_told(folder, tmp_path):
    with pytest.raises(KeysError, match="not empty"):
        keys.make(folder / "keys", range(2))
    with pytest.raises(KeysError, match=r"No such file.*detox-ps keys makes keys"):
        Keys(tmp_path)
    keys.make(tmp_path / "new", [0])
    own = tmp_path / "new" / "worker-0"
    (own / keys.SECRET).chmod(0o640)
    with pytest.raises(KeysError, match=r"others can read .*chmod 600"):
        Keys(own)
    (own / keys.SECRET).chmod(0o600)
    (own / keys.PEERS).write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    with pytest.raises(KeysError, match="detox-ps keys makes keys"):
        Keys(own)


def test_once_keys_are_read_no_file_is_needed_to_dial_or_to_listen(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    shutil.copytree(folder / "keys" / "worker-1", tmp_path / "own")
    own = Keys(tmp_path / "own")
    shutil.rmtree(tmp_path / "own")
    listener = Listener(("127.0.0.1", 0), own)
    for peer in (0, 1):
        Dialer(("127.0.0.1", listener.port), own, peer=peer)
    listener.close()


def test_a_rank_cannot_answer_as_another_and_learns_not_even_who_dials(folder, clock):
    other = Listener(("127.0.0.1", 0), Keys(folder / "keys" / "worker-0"), clock)  # rank 1, which has a key too
    dialer = Dialer(("127.0.0.1", other.port), Keys(folder / "keys" / "worker-1"), clock)
    ends = Channel(other, [0, 2]), Channel(dialer, [0])
    with pytest.raises(EntranceError, match="is not the parameter server of these keys"):
        until(lambda: False, *ends)
    until(lambda: other.refused, ends[0])
    assert not ends[0].hosts
    for end in ends:
        end.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
@pytest.mark.parametrize(("answers", "peer", "seconds"), [(keys.PS, 0, 10), ("worker-0", 1, 60)], ids=["ps", "rank"])
def test_a_rank_that_computes_may_take_nothing_for_longer_than_the_ps(folder, answers, peer, seconds):
    listener = Listener(("127.0.0.1", 0), Keys(folder / "keys" / answers))
    dialer = Dialer(("127.0.0.1", listener.port), Keys(folder / "keys" / "worker-1"), peer=peer)
    dialled, accepted = [], []
    while not dialled or not accepted:
        dialled += dialer.arrivals([peer])
        accepted += listener.arrivals([2])
    options = []
    for connection in (*dialled, *accepted):
        with socket.socket(fileno=os.dup(connection.fileno())) as stream:
            options.append(stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        connection.end("enough")
    assert options == [1000 * seconds, 60_000]
    listener.close()


def test_who_answers_and_hangs_up_at_once_is_dialled_ever_more_seldom(folder, listener, clock):
    dialer = Dialer(("127.0.0.1", listener.port), Keys(folder / "keys" / "worker-0"), clock)

    def dialled():
        """When the next connection comes about."""
        came = []
        while not came:
            clock.now += 0.01
            came += dialer.arrivals([0])
            for guest in listener.arrivals([1]):
                guest.end("no")
        came[0].end("it is lost")
        return clock.now

    times = [dialled() for _ in range(20)]
    assert times[-1] - times[-2] > 1.9
    clock.now = lost = times[-1] + 11  # that one has lasted
    assert dialled() - lost < 1
    assert dialled() - lost < 1


def test_an_attempt_that_is_no_longer_needed_wakes_nobody(folder, listener):
    dialer = Dialer(("127.0.0.1", listener.port), Keys(folder / "keys" / "worker-0"))
    list(dialer.arrivals([0]))
    while not select_readable(dialer):  # it is answered
        list(listener.arrivals([1]))
    list(dialer.arrivals([]))  # the peer has come by itself
    assert not select_readable(dialer)


def test_each_key_is_its_workers_rank_and_a_strangers_is_nobodys(ps, dial, listener):
    second, stranger = dial(1), dial(0, "strangers")
    with pytest.raises(EntranceError, match="is not the parameter server of these keys"):
        until(lambda: False, ps, second.channel, stranger.channel)
    until(lambda: not second.channel.dead and 2 not in ps.dead, ps, second.channel)
    assert ps.dead == {1}


def test_who_knows_the_ps_but_is_unknown_to_it_gets_no_connection(ps, folder, listener, tmp_path):
    own = tmp_path / "mixed"
    own.mkdir()
    (own / keys.SECRET).write_bytes((folder / "strangers" / "worker-0" / keys.SECRET).read_bytes())
    (own / keys.SECRET).chmod(0o600)
    known = [(folder / made / "worker-0" / keys.PEERS).read_bytes() for made in ("keys", "strangers")]
    (own / keys.PEERS).write_bytes(b"".join(known))
    dialer = Dialer(("127.0.0.1", listener.port), Keys(own))
    channel = Channel(dialer, [0])
    until(lambda: listener.refused, ps, channel)
    assert ps.dead == {1, 2}
    channel.close()


def test_who_has_no_key_or_another_tls_gets_no_connection(ps, listener):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    guests = []
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        context.maximum_version = version
        guest = socket.create_connection(("127.0.0.1", listener.port))
        guest.setblocking(False)
        guests.append(context.wrap_socket(guest, do_handshake_on_connect=False))

    def refused():
        for guest in guests:
            with contextlib.suppress(OSError):
                guest.do_handshake()
        return listener.refused == 2

    until(refused, ps)
    assert ps.dead == {1, 2}
    for guest in guests:
        guest.close()


def test_who_says_nothing_has_five_seconds_and_a_crowd_pushes_itself_out(ps, dial, listener, clock):
    guests = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(100)]
    until(lambda: not select_readable(listener), ps)
    assert listener.refused == 0
    guests += [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(100)]
    until(lambda: listener.refused == 72, ps)
    end = dial(0)
    until(lambda: not end.channel.dead and 1 not in ps.dead, ps, end.channel)
    clock.now = 6
    until(lambda: listener.refused >= 199, ps)
    for guest in guests:
        guest.close()


def select_readable(entrance):
    poll = select.poll()
    entrance.watch(poll)
    return any(events for descriptor, events in poll.poll(50))


def test_what_can_never_be_a_message_ends_the_connection_and_it_comes_again(ps, dial):
    ps.limits.update({Kind.CLAIM: 32})
    end = dial(0)
    until(lambda: 1 not in ps.dead, ps, end.channel)
    end.send(Header(Kind.GRADIENT), bytes(100_000))  # longer than anything that was ever expected
    heard = until(lambda: ps.drops[1], ps, end.channel)
    assert [message.fault for message in heard] == ["100032 bytes of kind 7, of which nothing so long is expected"]
    until(lambda: 1 not in ps.dead and not end.channel.dead, ps, end.channel)
    end.send(Header(Kind.CLAIM, 2), bytes(32))
    heard = []
    until(lambda: heard.extend(ps.receive()) or heard, end.channel)
    assert heard[0].header == Header(Kind.CLAIM, 2)


@pytest.mark.parametrize("kind", [Kind.PART, Kind.CLAIM, Kind.GRADIENT])
def test_what_one_peer_may_send_without_end_another_may_not(ps, dial, kind):
    ps.limits.update({Kind.CLAIM: 32, Kind.PART: ENDLESS})
    ps.credit.update({Kind.PART: Counter({2: 1})})
    hostile, server = dial(0), dial(1)
    until(lambda: not ps.dead, ps, hostile.channel, server.channel)
    hostile.send_frame(kind, Header(kind).pack(2**62))
    heard = until(lambda: ps.drops[1], ps, hostile.channel, server.channel)
    (fault,) = [message.fault for message in heard]
    assert fault.startswith(f"{2**62 + 32} bytes of kind {kind}")
    server.send(Header(Kind.PART), bytes(100_000))  # longer than any kind with an end
    heard = []
    until(lambda: heard.extend(ps.receive()) or heard, server.channel)
    assert [(message.source, len(message.payload)) for message in heard] == [(2, 100_000)]


def test_a_new_connection_takes_the_place_of_the_old_one_and_is_greeted(ps, dial):
    ps.limits.update({Kind.READY: 10})
    first = dial(0)
    until(lambda: 1 not in ps.dead, ps, first.channel)
    second = dial(0, greeting=lambda: (Header(Kind.READY, 5), b"again"))
    heard = []
    until(lambda: heard.extend(ps.receive()) or heard, second.channel)
    assert bytes(heard[0].payload) == b"again"
    assert ps.drops[1] == 1
    assert ps.hosts == {1: "127.0.0.1"}


def test_a_peer_that_takes_nothing_is_given_up_before_much_piles_up(ps, dial):
    end = dial(0)
    until(lambda: 1 not in ps.dead and not end.channel.dead, ps, end.channel)
    for step in range(3000):
        ps.send([1], Header(Kind.WORK, step), bytes(5000))
    assert ps.sending(1) <= 1024
    until(lambda: ps.drops[1] == 1, ps)


@pytest.fixture
def updater(folder, ps, listener, tmp_path):
    """A peer of TLS's own kind, connected as rank 1."""
    own = Keys(folder / "keys" / "worker-0")
    updater = Updater(("127.0.0.1", listener.port), own, tmp_path / "log")
    until(lambda: updater.shake() and 1 not in ps.dead, ps)
    yield updater
    updater.close()


def test_a_peer_that_only_updates_its_keys_is_given_up_before_it_takes_long(ps, updater):
    updater.send(updater.updates(3000))  # OpenSSL alone takes them for as long as they come
    until(lambda: ps.drops[1], ps)
    assert "of TLS overhead" in ps.why[1]


def test_many_short_messages_in_a_record_earn_no_more_updates_than_one(ps, updater):
    ps.limits.update({Kind.CLAIM: 0})
    heard = []
    for _ in range(5):
        updater.send(updater.data(Header(Kind.CLAIM).pack(0) * 511))
    until(lambda: heard.extend(ps.receive()) or len(heard) == 5 * 511)
    updater.send(updater.updates(3000))
    updater.send(updater.data(Header(Kind.CLAIM).pack(0)))
    until(lambda: heard.extend(ps.receive()) or ps.drops[1] or len(heard) > 5 * 511)
    assert ps.drops[1] == 1
    assert "of TLS overhead" in ps.why[1]


def test_a_peer_may_update_its_keys_between_messages(ps, updater):
    ps.limits.update({Kind.CLAIM: 32})
    for step in range(1000):
        updater.send(updater.updates(1) + updater.data(Header(Kind.CLAIM, step).pack(32) + bytes(32)))
    heard = []
    until(lambda: heard.extend(ps.receive()) or len(heard) == 1000)
    assert [message.header.step for message in heard] == list(range(1000))


def test_a_patient_end_is_never_left_alone_for_good(ps, dial):
    end = dial(0, patient=True)
    assert not end.channel.dead
    until(lambda: 1 not in ps.dead, ps, end.channel)
    assert not end.channel.dead


def test_an_address_that_cannot_be_listened_on_is_told(folder, listener):
    own = Keys(folder / "keys" / keys.PS)
    with pytest.raises(EntranceError, match=f"cannot listen on 127.0.0.1:{listener.port}: Address already in use"):
        Listener(("127.0.0.1", listener.port), own)
    with pytest.raises(EntranceError, match=r"cannot listen on no\.such\.host\.invalid:7: "):
        Listener(("no.such.host.invalid", 7), own)
