"""`detox-ps verify`: makes steps of a run again, alone and without MPI, and says where they differ from its record."""

import math
from argparse import ArgumentParser
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from detox.config import Config, ConfigError, known_secret
from detox.errors.words import counted
from detox.launch import failure
from detox.launch.environment import fix_torch
from detox.launch.secret import read
from detox.ps.chain import Link, read_chain, short
from detox.ps.checkpoints import read_checkpoint
from detox.ps.files import read_json
from detox.ps.folder import RunFolder
from detox.reports.records import read_run
from detox.wire import digest_of

if TYPE_CHECKING:
    from detox.ps.model import GlobalModel
    from detox.ps.replay import Replay


@dataclass(frozen=True)
class _Start:
    """Where to begin.

    Attributes:
        step: of the checkpoint; 0: the weights at the start of the run.
        links: of the steps behind it, in a row.
        next: the link behind these, if there is one.
        end: the checkpoint behind these, if there is one.
    """

    step: int
    links: list[Link]
    next: Link | None
    end: Path | None


def verify(argv: list[str]) -> int:
    """Prints what was compared; returns 0 where all is as recorded, 1 where it is not."""
    options = parser().parse_args(argv)
    if options.steps < 1:
        raise ConfigError(f"--steps is at least 1, got {options.steps}")
    folder, config = RunFolder(Path(options.run)), read_run(Path(options.run))
    if why := _why_not(config):
        raise ConfigError(f"this run cannot be verified: {why}")
    chain = list(read_chain(folder.chain))
    if not chain:
        raise ConfigError(f"{folder.chain}: there is no step in it; chain_every = {config.chained}")
    links, end = [link for link, _ in chain], chain[-1][1]
    print(f"a chain of {counted(len(links), 'step')}, to step {links[-1].step}: whole; its end is {end}")
    if other := _other_end(folder, end):
        print(other)
    start = _start(folder, links, options.start, options.steps)
    secret = read(options.secret) if options.secret else folder.read_secret()
    fix_torch()
    status = _compare(folder, config, start, known_secret(config) if secret is None else secret)
    return failure.FAILURE if other else status


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser(
        "detox-ps verify",
        allow_abbrev=False,
        description="Computes all files of some steps again from a checkpoint, with the run's own config, task and "
        "data, and compares votes, update and weights with chain.jsonl, whose links are checked too. It needs the "
        "same class of machine and the same versions; a task of your own is looked for in the current folder.",
    )
    line.add_argument("run", type=Path, metavar="RUN", help="the folder of a run, which may be going on")
    line.add_argument("--steps", type=int, default=3, metavar="N", help="steps to make again, at most (3)")
    line.add_argument(
        "--from",
        dest="start",
        metavar="CHECKPOINT",
        help="a checkpoint's file or step; 0: the start of the run; unset: the newest with so many steps behind it",
    )
    line.add_argument(
        "--secret-seed-file", dest="secret", metavar="FILE", help="the run's secret seed; unset: the folder's own"
    )
    return line


def _why_not(config: Config) -> str:
    if config.worker_momentum:
        return "with worker_momentum votes follow from all steps before them, and no checkpoint has the momenta"
    if config.vote == "tolerance":
        return 'with vote = "tolerance" votes are equal only nearly, and a digest shows nothing of that'
    return ""


def _other_end(folder: RunFolder, end: str) -> str:
    """Where a finished run's summary tells of another chain, in words."""
    summary = (read_json(folder.path / "summary.json") if folder.done else None) or {}
    if (told := summary.get("chain") or end) == end:  # empty: the last job wrote none
        return ""
    return f"summary.json has another end, {told}: lines were changed, or the last ones are gone"


def _start(folder: RunFolder, links: list[Link], wanted: str | None, steps: int) -> _Start:
    """Where to begin, and the links to compare with."""
    by_step = {link.step: link for link in links}

    def behind(step: int) -> list[Link]:
        found: list[Link] = []
        while len(found) < steps and step + 1 + len(found) in by_step:
            found.append(by_step[step + 1 + len(found)])
        return found

    there = [0, *folder.checkpoints()]
    if wanted is None:
        step = max(there, key=lambda step: (len(behind(step)), step))
    elif wanted.isdigit():
        step = int(wanted)
    else:
        files = {path.name: step for step, path in folder.checkpoints().items()}
        step = files.get(Path(wanted).name, -1)
    if step not in there:
        raise ConfigError(f"--from {wanted}: there is no such checkpoint; there are {', '.join(map(str, there))}")
    if not behind(step):
        raise ConfigError(f"step {step + 1}, behind checkpoint {step}, is not in {folder.chain}: --from another")
    last = step + len(behind(step))
    return _Start(step, behind(step), by_step.get(last + 1), folder.checkpoints().get(last))


def _compare(folder: RunFolder, config: Config, start: _Start, secret: int | None) -> int:
    import torch

    from detox.launch.provenance import changes, facts_of, place_of
    from detox.ps.aggregation import Aggregation
    from detox.ps.replay import Replay

    task = config.create_task()
    facts = facts_of(config, task) | {"machine": place_of(config, 0)["machine"]}
    for sentence in changes(folder, facts):
        failure.say(f"made with something else than the run: {sentence}")
    model = config.create_model(task)
    if start.step:
        state = read_checkpoint(folder.checkpoints()[start.step])
        if (held := state["model"]["weights"].numel()) != model.weights.size:
            print(
                f"the checkpoint of step {start.step} has {held} weights, and the model of config and task "
                f"{model.weights.size}: these are not the run's"
            )
            return failure.FAILURE
        model.restore(state["model"])
        torch.set_rng_state(state["random"])
    scheme = config.create_scheme(secret or 0)
    replay = Replay(
        model,
        config.create_files(task),
        config.compression.create(model.d, model.b),
        None if secret is None else lambda f: Aggregation(config.hierarchy, scheme, f, secret),
    )
    print(f"from {f'the checkpoint of step {start.step}' if start.step else 'the start of the run'}:")
    if secret is None:
        failure.say("without the secret seed no update can be made again: only the votes of one step are compared")
        start = replace(start, links=start.links[:1], next=None, end=None)
    return _make(replay, model, config, start)


def _make(replay: "Replay", model: "GlobalModel", config: Config, start: _Start) -> int:
    for link in start.links:
        if why := replay.make(link):
            print(f"step {link.step}: {why}")
            return failure.FAILURE
        votes = counted(len([vote for vote in link.votes if vote is not None]), "vote")
        print(f"step {link.step}: weights, {votes}{', update' * (link.update is not None)} as recorded")
        _evaluate(model, config, link.step)
    if start.next is not None and (why := replay.begins(start.next)):
        print(f"step {start.next.step}: {why}: another optimizer's step was made of the update before it")
        return failure.FAILURE
    if start.end is not None:
        held = short(digest_of(read_checkpoint(start.end)["model"]["weights"].numpy()))
        if held != (own := short(digest_of(model.weights))):
            print(f"{start.end.name}: it holds the weights {held}, and these are {own}")
            return failure.FAILURE
        print(f"{start.end.name}: it holds these weights")
    return 0


def _evaluate(model: "GlobalModel", config: Config, step: int) -> None:
    """Where the learning rate goes by evaluations, evaluates as the run did."""
    from detox.launch.scores import evaluate

    if config.optimizer.schedule == "ReduceLROnPlateau" and step % config.eval_every == 0 and step < config.steps:
        loss = evaluate(model)["loss"]
        model.evaluated(math.inf if loss is None else loss)
