"""Rank 0: reads the config, starts the workers' ranks, trains, and keeps the run folder."""

import json
import math
import platform
import sys
import time
from collections import Counter
from typing import Any

import numpy as np
import torch

from detox.launch.config import Config, ConfigError, secret_seed
from detox.launch.console import Reporter, adversary_in_words, summary_lines
from detox.launch.train import parse
from detox.ps.assignment import Files
from detox.ps.folder import RunFolder
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.selftest import StartError, probe, unequal
from detox.ps.server import Plan, Server, StepRecord
from detox.ps.stopwatch import PARTS
from detox.tasks import TaskError, create_task
from detox.wire import Codec, Header, Kind
from detox.wire.transport import Transport, library

_JSON_LIMIT = 2**16

Scores = dict[str, float | None]


def serve(transport: Transport, argv: list[str]) -> tuple[int, bool]:
    """The PS's life; returns the exit status, and whether all ranks have said goodbye."""
    status = 1
    try:
        status = _run(transport, argv)
    except (ConfigError, TaskError, StartError) as error:
        print(f"detox-ps: {error}", file=sys.stderr)
        status = 2
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else 2
    return status, _dismiss(transport)


def _run(transport: Transport, argv: list[str]) -> int:
    config, progress = parse(argv)
    ranks = assign_ranks(config, len(transport.peers))
    folder = RunFolder(config.folder)
    if folder.done:
        print("\n".join(["already finished:", *summary_lines(folder.summary(), str(folder.path))]))
        return 0
    folder.create(config.toml())
    secret = folder.keep_secret(lambda: secret_seed(config))
    reporter = Reporter(progress, config.steps)
    task = _start(transport, config, ranks)
    model = create_model(config, task)
    fingerprints = _await_ready(transport, config)
    files = Files(config.votes, config.r * config.batch_size, task.train_size, config.seed)
    wait = config.transport
    digests = probe(transport, ranks, model, files, wait.start_deadline, wait.poll)
    for line in unequal(digests, fingerprints):
        reporter.warn(line)
    hosts = {rank: str(facts.get("host", "")) for rank, facts in fingerprints.items()}
    codec = Codec(model.d + model.b, **config.compression.model_dump())
    checkpoint = folder.load_checkpoint()
    server = Server(
        transport,
        ranks,
        model,
        codec,
        Plan(
            p=config.p,
            r=config.r,
            groups=config.groups,
            seed=config.seed,
            secret_seed=secret,
            files=files,
            direct=config.vote == "full" or config.r == 1,
            hierarchy=config.hierarchy,
            f=config.f,
            deadline=wait.deadline,
            fetch_deadline=wait.fetch_deadline,
            poll=wait.poll,
        ),
        Ledger(folder.ledger, ranks, hosts),
    )
    buffers = f" and {model.b} buffers" if model.b else ""
    reporter.say(
        f"{config.task}: d = {model.d} parameters{buffers}; p = {config.p} workers in {config.votes} groups of "
        f"r = {config.r}, {adversary_in_words(config)}; {len(set(ranks))} ranks on {len(set(hosts.values()))} hosts"
    )
    if config.share_compute:
        reporter.say("share_compute: workers of one rank that hold the same file compute it once")
    run = _Run(config, folder, reporter, server, model)
    first = run.resume(checkpoint)
    try:
        run.train(first)
    finally:
        reporter.close()
        server.ledger.close()
    for line in summary_lines(folder.summary(), str(folder.path)):
        reporter.say(line)
    return 0


class _Run:
    """The training of one run: steps, with metrics, evaluations and checkpoints between them."""

    def __init__(
        self, config: Config, folder: RunFolder, reporter: Reporter, server: Server, model: GlobalModel
    ) -> None:
        self._config = config
        self._folder = folder
        self._reporter = reporter
        self._server = server
        self._model = model
        self._seconds: Counter[str] = Counter()
        self._bytes_in = 0
        self._skipped = 0

    def resume(self, checkpoint: tuple[int, dict[str, Any]] | None) -> int:
        """Restores a checkpoint if there is one; returns the first step to make."""
        if checkpoint is None:
            return 1
        step, state = checkpoint
        self._model.restore(state["model"])
        self._server.ledger.restore(state["ledger"])
        self._server.outcomes.update(state["outcomes"])
        self._seconds.update(state["seconds"])
        self._bytes_in, self._skipped = state["bytes_in"], state["skipped"]
        self._reporter.say(f"resumed after step {step}")
        return step + 1

    def train(self, first: int) -> None:
        """All steps from `first`; then the summary."""
        config, interval = self._config, _Interval(self._server.outcomes)
        scores: Scores = {}
        for record in self._server.train(first, config.steps):
            step = record.step
            self._count(record)
            interval.count(record)
            line: dict[str, Any] = {"step": step, "seconds": record.seconds, "bytes_in": record.bytes_in}
            if record.skipped:
                line["skipped"] = record.skipped
            if step % config.eval_every == 0 or step == config.steps:
                scores = self._evaluate()
                line |= scores
            self._folder.append_metrics(line)
            self._reporter.advance(step)
            if step % config.log_every == 0 or step == config.steps:
                self._reporter.interval(step, scores, *interval.read(self._server.outcomes))
                if interval.skipped:
                    self._reporter.warn(
                        f"{len(interval.skipped)} of the last {interval.steps} steps made no update; the last one: "
                        f"{interval.skipped[-1]}"
                    )
                scores, interval = {}, _Interval(self._server.outcomes)
            if step % config.checkpoint_every == 0 and step < config.steps:
                self._server.settle_accounts()
                self._folder.save_checkpoint(step, self._state())
        self._folder.finish(self._summary())

    def _evaluate(self) -> Scores:
        """Loss and accuracy; None where they are not finite, for which JSON has no number."""
        return {name: score if math.isfinite(score) else None for name, score in self._model.evaluate().items()}

    def _count(self, record: StepRecord) -> None:
        self._seconds.update(record.seconds)
        self._bytes_in += record.bytes_in
        self._skipped += bool(record.skipped)

    def _state(self) -> dict[str, Any]:
        return {
            "model": self._model.state(),
            "ledger": self._server.ledger.state(),
            "outcomes": dict(self._server.outcomes),
            "seconds": dict(self._seconds),
            "bytes_in": self._bytes_in,
            "skipped": self._skipped,
        }

    def _summary(self) -> dict[str, Any]:
        config, ledger = self._config, self._server.ledger
        scores = self._evaluate()
        mean = {name: self._seconds[name] / config.steps for name in PARTS}
        return {
            "name": config.name,
            "config_hash": config.digest,
            "steps": config.steps,
            "skipped_steps": self._skipped,
            "test_accuracy": scores["accuracy"],
            "test_loss": scores["loss"],
            "seconds_per_step": {"total": sum(mean.values()), **mean},
            "bytes_into_ps": self._bytes_in,
            "votes": {name: self._server.outcomes[name] for name in ("unanimous", "majority", "none")},
            "dissents": ledger.dissents(),
            "ledger": [dict(counts) for counts in ledger.counts],
            "hosts": ledger.host_of,
            "weights_digest": self._model.digest,
            "versions": {
                "python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__, **library(),
            },
        }  # fmt: skip


class _Interval:
    """Means of the steps between two lines on the terminal."""

    def __init__(self, outcomes: Counter[str]) -> None:
        self._before = outcomes.copy()
        self.steps = 0
        self.skipped: list[str] = []
        self._seconds: Counter[str] = Counter()
        self._bytes_in = 0

    def count(self, record: StepRecord) -> None:
        """Adds a step."""
        self.steps += 1
        self._seconds.update(record.seconds)
        self._bytes_in += record.bytes_in
        if record.skipped:
            self.skipped.append(record.skipped)

    def read(self, outcomes: Counter[str]) -> tuple[dict[str, float], float, Counter[str]]:
        """Mean seconds by part, mean bytes a step, and the votes counted since."""
        seconds = {name: self._seconds[name] / self.steps for name in PARTS}
        return seconds, self._bytes_in / self.steps, outcomes - self._before


def assign_ranks(config: Config, hosts: int) -> list[int]:
    """The rank of each worker: blocks of consecutive ids.

    Args:
        config: p, and workers_per_rank if it is set.
        hosts: ranks besides the PS.

    Raises:
        ConfigError: the ranks that mpirun started do not suit.
    """
    needed = config.ranks()
    if needed is not None and needed != hosts + 1:
        raise ConfigError(
            f"p = {config.p} workers with workers_per_rank = {config.workers_per_rank} take {needed} ranks, the PS "
            f"included; mpirun started {hosts + 1}: use -n {needed}"
        )
    if hosts > config.p:
        raise ConfigError(
            f"mpirun started {hosts + 1} ranks, more than the PS and p = {config.p} workers: use -n {config.p + 1}"
        )
    if config.workers_per_rank is not None:
        return [1 + worker // config.workers_per_rank for worker in range(config.p)]
    return [1 + worker * hosts // config.p for worker in range(config.p)]


def create_model(config: Config, task: Any) -> GlobalModel:
    """The PS's model with the config's optimizer.

    Raises:
        ConfigError: the optimizer does not exist, or does not take its arguments.
    """
    section = config.optimizer
    optional = {"momentum": section.momentum, "weight_decay": section.weight_decay}
    arguments = {"lr": section.lr, **{name: value for name, value in optional.items() if value}, **section.options}
    try:
        return GlobalModel(
            task,
            seed=config.seed,
            steps=config.steps,
            optimizer=section.name,
            arguments=arguments,
            schedule=section.schedule,
            milestones=section.milestones,
            gamma=section.gamma,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _start(transport: Transport, config: Config, ranks: list[int]) -> Any:
    """Sends the config, without what only the PS may know, to all ranks, and loads the task meanwhile."""
    public = config.model_dump(mode="json", exclude={"secret_seed"})
    start = json.dumps({"config": public, "ranks": ranks}).encode()
    transport.limits[Kind.READY] = _JSON_LIMIT
    transport.send(transport.peers, Header(Kind.START), start)
    return create_task(config.task, model=config.model, data_dir=config.data_dir, device=config.device)


def _await_ready(transport: Transport, config: Config) -> dict[int, dict[str, Any]]:
    """Rank -> what decides the bits there, once all ranks have loaded data and model."""
    ready: dict[int, dict[str, Any]] = {}
    end = time.monotonic() + config.transport.start_deadline
    while len(ready) < len(transport.peers):
        for message in transport.receive():
            if message.header is None or message.header.kind != Kind.READY:
                continue
            facts = _read_facts(message.source, bytes(message.payload))
            if "error" in facts:
                raise StartError(f"rank {message.source} on {facts.get('host')}: {facts['error']}")
            ready[message.source] = facts
        missing = [rank for rank in transport.peers if rank not in ready]
        if transport.dead & set(missing):
            raise StartError(f"ranks {sorted(transport.dead)} died while they loaded data and model")
        if missing and time.monotonic() > end:
            raise StartError(
                f"ranks {missing} were not ready within transport.start_deadline = "
                f"{config.transport.start_deadline:g} s"
            )
        time.sleep(config.transport.poll)
    return ready


def _read_facts(rank: int, payload: bytes) -> dict[str, str | int]:
    """The JSON of a READY: names with words or numbers."""
    try:
        facts = json.loads(payload)
        if isinstance(facts, dict) and all(isinstance(value, str | int) for value in facts.values()):
            return facts
    except (ValueError, RecursionError):
        pass
    raise StartError(f"rank {rank} is ready for something else: {payload[:80]!r}")


def _dismiss(transport: Transport) -> bool:
    """Tells all ranks to leave; whether every one of them has said goodbye within two seconds."""
    transport.limits[Kind.BYE] = 0
    transport.send(transport.peers, Header(Kind.QUIT))
    waiting = set(transport.peers)
    end = time.monotonic() + 2.0
    while waiting - transport.dead and time.monotonic() < end:
        for message in transport.receive():
            if message.header is not None and message.header.kind == Kind.BYE:
                waiting.discard(message.source)
        time.sleep(0.001)
    return not waiting
