"""What waiting costs: CPU seconds per step of ranks that have nothing to do until the slowest of them has computed.

python -m benchmarks.waiting [-n RANKS] [--steps STEPS] [--seconds SECONDS]

In each step the first rank asks all others and waits; all answer at once but for the last, which takes SECONDS. They
are real ranks on this machine with the session and the transport of a job, and without a task, for what torch takes to
start is many times what waiting takes. Once they sleep longer the longer nothing comes, once always as `poll` says.
"""

import json
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from statistics import mean

from detox.launch import environment
from detox.launch.mpirun import mpirun_line
from detox.wire import Header, Kind, Message, Session

POLL = 0.0005  # seconds, the default of transport.poll
SLEEPS = {
    "longer the longer nothing comes": time.sleep,
    f"always {1000 * POLL:g} ms": lambda seconds: time.sleep(POLL),
}
_LIMITS = {Kind.WORK: 0, Kind.CLAIM: 8, Kind.QUIT: 0}


def serve(session: Session, options: Namespace) -> None:
    """Makes steps, and prints CPU seconds per step of all ranks; the first step is not counted."""
    used: dict[int, list[float]] = {rank: [] for rank in session.peers}

    def take(message: Message) -> None:
        used[message.source].append(int.from_bytes(message.payload, "little") / 1e9)

    for step in range(1, options.steps + 2):
        session.send(session.peers, Header(Kind.WORK, step))
        session.wait(lambda step=step: all(len(times) == step for times in used.values()), take)
        if step == 1:
            begun = time.process_time(), time.monotonic()
    own, seconds = time.process_time() - begun[0], time.monotonic() - begun[1]
    session.send(session.peers, Header(Kind.QUIT))
    cpu = [(times[-1] - times[0]) / options.steps for times in used.values()]
    print(json.dumps({"ps": own / options.steps, "waiting": cpu[:-1], "seconds": seconds / options.steps}), flush=True)


def work(session: Session, seconds: float) -> None:
    """Answers each question after so many seconds, with the nanoseconds of CPU that this process has used so far."""
    over = False

    def take(message: Message) -> None:
        nonlocal over
        if message.header is not None and message.header.kind == Kind.WORK:
            time.sleep(seconds)
            session.send([0], Header(Kind.CLAIM, message.header.step), time.process_time_ns().to_bytes(8, "little"))
        over = over or (message.header is not None and message.header.kind == Kind.QUIT)

    session.wait(lambda: over, take)


def rank(options: Namespace) -> None:
    """The life of a rank."""
    from detox.wire.job import leave, world
    from detox.wire.transport import Transport

    comm = world()
    session = Session(
        Transport(comm, range(1, comm.size) if comm.rank == 0 else [0]), POLL, sleep=SLEEPS[options.sleeps]
    )
    session.expect(_LIMITS)
    if comm.rank == 0:
        serve(session, options)
    else:
        work(session, options.seconds if comm.rank == comm.size - 1 else 0.0)
    leave(0, True)


def main() -> None:
    """Runs the ranks with both kinds of sleep, and prints a table."""
    parser = ArgumentParser("benchmarks.waiting", description=__doc__)
    parser.add_argument("-n", type=int, default=46, help="ranks, the PS included")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0, help="that the slowest takes in each step")
    parser.add_argument("--sleeps", choices=SLEEPS, help="this is a rank, which sleeps like that")
    options = parser.parse_args()
    if options.sleeps:
        rank(options)
        return
    from benchmarks.measure import machine

    environment.apply()
    print(f"{machine()}\n\n{options.n} ranks, {options.steps} steps of {options.seconds:g} s\n")
    print("| sleep of a rank that waits | CPU ms per step: a rank | the PS | all ranks | of a core |")
    print("|---|---|---|---|---|")
    for sleeps in SLEEPS:
        command = [sys.executable, "-m", "benchmarks.waiting", "--sleeps", sleeps]
        command += ["--steps", str(options.steps), "--seconds", str(options.seconds)]
        done = subprocess.run(mpirun_line(options.n, None, command), check=True, stdout=subprocess.PIPE)
        found = json.loads(done.stdout)
        total = found["ps"] + sum(found["waiting"])
        cells = [f"{1000 * seconds:.1f}" for seconds in (mean(found["waiting"]), found["ps"])]
        cells += [f"{1000 * total:.0f}", f"{total / found['seconds']:.0%}"]
        print(f"| {sleeps} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
