"""What carries messages, compared: MPI over TCP, plain TCP, TLS as the channel has it and by the standard library's
sockets, and ZeroMQ with CURVE.

    mpirun ... python -m benchmarks.channels          (the line that `detox-ps launch` prints, with this behind it)
    python -m benchmarks.channels --peers 1 45        starts it, once for each number of peers

All run in the same processes, in turn in each round: `out` sends a vector to every peer, which answers with nothing;
`in` asks every peer for one. Then each peer floods the PS, which looks every 50 ms. `zmq` needs pyzmq.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from benchmarks.channel_ends import peer_ends, server_ends
from benchmarks.measure import machine
from detox.wire import Header, Kind, Session, keys

NAMES = ["mpi", "plain", "tls", "sslsocket", "zmq"]
FLOODS = {"small": 900, "large": 0}  # bytes; 0: a vector


def session_on(channel, size):
    session = Session(channel, sleep=getattr(channel, "wait", time.sleep))
    session.expect(
        dict.fromkeys((Kind.WEIGHTS, Kind.WORK, Kind.GRADIENT, Kind.CLAIM, Kind.FETCH, Kind.ECHO, Kind.QUIT), size)
    )
    return session


def obey(ends, size):
    """A peer: is told over MPI which channel is next, and does on it what it is asked for until QUIT."""
    vector = np.zeros(size, np.uint8).data
    sessions = {name: session_on(channel, size) for name, channel in ends.items()}
    told = []

    def hear(message):
        if message.header is not None:
            told.append(message.header)

    while True:
        sessions["mpi"].wait(lambda: bool(told), hear)
        order = told.pop(0)
        if order.kind == Kind.QUIT:
            return
        session, before = sessions[NAMES[order.step]], time.process_time()
        while True:
            session.wait(lambda: bool(told), hear)
            asked = told.pop(0)
            if asked.kind == Kind.QUIT:
                break
            if asked.kind == Kind.WEIGHTS:
                session.send([0], Header(Kind.CLAIM))
            elif asked.kind == Kind.WORK:
                session.send([0], Header(Kind.GRADIENT), vector)
            elif asked.kind == Kind.FETCH:
                flood(session, asked.step / 1000, vector[: asked.file] if asked.file else vector)
        used = np.float64(time.process_time() - before)
        session.wait(lambda session=session: not session.sending(0), hear)
        sessions["mpi"].send([0], Header(Kind.BYE), used.tobytes())


def flood(session, seconds, payload):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if session.sending(0) < 4:
            session.send([0], Header(Kind.ECHO), payload)
        else:
            session._sleep(0.001)


def phase(sessions, name, act):
    """Runs `act` on one of the channels; seconds, and CPU seconds of all ranks together."""
    peers, index = sessions["mpi"].peers, NAMES.index(name)
    sessions["mpi"].expect({Kind.BYE: 8})
    sessions["mpi"].send(peers, Header(Kind.WORK, index))
    sessions["mpi"].wait(lambda: not any(map(sessions["mpi"].sending, peers)), lambda message: None)
    time.sleep(0.05)
    session = sessions[name]
    session.expect({Kind.GRADIENT: SIZE, Kind.CLAIM: 0})
    start, before = time.monotonic(), time.process_time()
    result = act(session)
    seconds, cpu = time.monotonic() - start, time.process_time() - before
    session.send(peers, Header(Kind.QUIT))
    session.wait(lambda: not any(map(session.sending, peers)), lambda message: None)
    used = []
    sessions["mpi"].expect({Kind.BYE: 8})

    def hear(message):
        if message.header is not None and message.header.kind == Kind.BYE:
            used.append(float(np.frombuffer(message.payload, np.float64)[0]))

    while len(used) < len(peers):
        sessions["mpi"].turn(hear)
        if session is not sessions["mpi"]:
            session.turn(lambda message: None)
        time.sleep(0.001)
    return seconds, cpu + sum(used), result


def send_out(session):
    heard = []
    session.send(session.peers, Header(Kind.WEIGHTS), VECTOR.data)
    session.wait(lambda: len(heard) == len(session.peers), heard.append)


def take_in(session):
    count = Counter()
    session.send(session.peers, Header(Kind.WORK))
    session.wait(lambda: count.total() == len(session.peers), lambda message: count.update([message.source]))


def under_flood(size, seconds):
    def act(session):
        before, most = memory(), 0
        session.send(session.peers[:4], Header(Kind.FETCH, round(1000 * seconds), 0, size))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            session.turn(lambda message: None)
            most = max(most, memory())
            time.sleep(0.05)
        return max(0, most - before)

    return act


def memory():
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure(ends, rounds, seconds):
    """Prints the tables."""
    sessions = {name: session_on(channel, SIZE) for name, channel in ends.items()}
    n = len(sessions["mpi"].peers)
    found = defaultdict(list)
    for number in range(rounds + 1):
        for name in NAMES:
            for what, act in (("out", send_out), ("in", take_in)):
                took, cpu, _ = phase(sessions, name, act)
                print(f"round {number} {name} {what}: {took:.2f} s, {cpu:.2f} s of CPU", file=sys.stderr, flush=True)
                if number:
                    found[name, what].append((took, cpu))
    print(f"\n{n} peers, {SIZE / 1e6:g} MB each way, median of {rounds} rounds\n")
    print("| channel | out, GB/s | in, GB/s | CPU, s per GB, all ranks |\n|---|---|---|---|")
    for name in NAMES:
        rates = {w: n * SIZE / 1e9 / statistics.median(t for t, _ in found[name, w]) for w in ("out", "in")}
        cpu = statistics.median(c for w in ("out", "in") for _, c in found[name, w]) / (n * SIZE / 1e9)
        print(f"| {name} | {rates['out']:.2f} | {rates['in']:.2f} | {cpu:.2f} |")
    if seconds:
        print(f"\ngrowth of the PS in {seconds:g} s under {min(n, 4)} peers that flood, MB\n")
        print(f"| channel | {' | '.join(FLOODS)} |\n|---|{'---|' * len(FLOODS)}")
        for name in NAMES:
            grown = [phase(sessions, name, under_flood(size, seconds))[2] / 1e6 for size in FLOODS.values()]
            print(f"| {name} | {' | '.join(f'{g:.1f}' for g in grown)} |", flush=True)
    sessions["mpi"].send(sessions["mpi"].peers, Header(Kind.QUIT))
    time.sleep(0.5)


def main():
    global SIZE, VECTOR
    line = ArgumentParser("benchmarks.channels")
    line.add_argument("--peers", type=int, nargs="+", default=[1, 45])
    line.add_argument("--megabytes", type=float, default=45)
    line.add_argument("--rounds", type=int, default=5)
    line.add_argument("--flood", type=float, default=5, metavar="SECONDS")
    line.add_argument("--without", nargs="*", default=[], choices=NAMES[1:])
    line.add_argument("--keys", type=Path, help="(of the ranks)")
    options = line.parse_args()
    for name in options.without:
        NAMES.remove(name)
    SIZE = round(options.megabytes * 1e6)
    if options.keys is None:
        from detox.launch.mpirun import mpirun_line

        print(machine(), flush=True)
        for peers in options.peers:
            with tempfile.TemporaryDirectory() as folder:
                keys.make(Path(folder, "keys"), range(peers))
                own = [sys.executable, "-m", "benchmarks.channels", *sys.argv[1:], "--keys", f"{folder}/keys"]
                subprocess.run(mpirun_line(peers + 1, None, own), check=False)
        return
    from detox.wire.job import leave, world

    VECTOR = np.zeros(SIZE, np.uint8)
    if world().rank:
        obey(peer_ends(world(), options.keys, SIZE, "zmq" in NAMES), SIZE)
        os._exit(0)
    measure(server_ends(world(), options.keys, SIZE, "zmq" in NAMES), options.rounds, options.flood)
    leave(0, False)


if __name__ == "__main__":
    main()
