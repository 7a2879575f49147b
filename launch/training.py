"""The training of a run: what has to be right before the first step, and the objects that make the steps."""

import contextlib
from collections.abc import Callable, Mapping, Set

from detox.aggregators import AggregatorError, Share, shares
from detox.config import Config, ConfigError, known_secret, secret_seed
from detox.config.adversary import adversary_in_words, groups_in_words, worst_in_words
from detox.errors.words import counted
from detox.launch.admission import Admission
from detox.launch.callback import Callback
from detox.launch.console import Reporter
from detox.launch.environment import all_here, end_start, handle_signals
from detox.launch.provenance import check, facts_of, place_of, workers_of
from detox.launch.ranks import Readiness, send_start
from detox.launch.room import room_for_server
from detox.launch.run import Run
from detox.launch.summary import summary_lines
from detox.launch.train import Options
from detox.ps.aggregation import Aggregation
from detox.ps.audit import Audit
from detox.ps.chain import Chain
from detox.ps.folder import RunFolder
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.relays import Relays
from detox.ps.selftest import check_answers, check_own_bits, classes_of, probe, unequal
from detox.ps.server import Server
from detox.ps.servers import Servers
from detox.ps.shared import SharedModel
from detox.ps.trial import try_out
from detox.tasks.samples import Files
from detox.wire import Session
from detox.wire.slices import FROM_HOSTS
from detox.worker.memory import available_memory

Admit = Callable[[Session, Config, list[int], GlobalModel, Files], Admission]
"""Makes the door of a session whose ranks come by themselves."""


def run_training(
    session: Session,
    config: Config,
    options: Options,
    ranks: list[int],
    folder: RunFolder,
    admit: Admit | None = None,
) -> bool:
    """Starts the ranks, tries out the task, compares bits, trains, and says what came of it.

    Args:
        session: the conversation with all other ranks.
        config: of the run.
        options: of the command.
        ranks: rank of each worker.
        folder: of the run; this job's alone.
        admit: where ranks come by themselves; None: they are there, as over MPI.

    Returns:
        False where a signal ended it.

    Raises:
        UserError, JobError: what the start, the task, the folder or the steps failed of.
    """
    reporter = Reporter(options.progress, config.steps)
    callback = Callback(config.metrics, reporter.warn) if config.metrics is not None else None
    session.poll = config.transport.poll
    admitted = room_for_server(
        config,
        ranks,
        available=available_memory(),
        all_here=bool(all_here()),
        admits=admit is not None,
        warn=reporter.warn,
    )
    readiness = Readiness(session)
    if admit is None:
        send_start(session, config, ranks, readiness.take)
    task = config.create_task()  # while the ranks load theirs
    check(
        folder,
        facts_of(config, task) | place_of(config, len(session.peers) + 2 - config.servers),
        options.accept,
        reporter.warn,
    )
    model = config.create_model(task, admitted)
    shared = shares_of(config, model)
    files = config.create_files(task)
    signs = config.compression.kind == "sign"
    metrics = try_out(task, model, files, bits=config.compares_bits, signs=signs, warn=reporter.warn)
    config.check_metrics(metrics)
    config.hierarchy.rehearse(config.votes, config.f, model.d)  # compiles
    end_start()
    admission = None if admit is None else admit(session, config, ranks, model, files)
    if admission is not None:
        admission.gather(config.transport.p_min or config.p, config.transport.start_deadline, reporter.say)
        hosts, digests = admission.hosts, admission.digests
    else:
        fingerprints = readiness.wait(config.transport.start_deadline)
        hosts = {rank: facts["host"] for rank, facts in fingerprints.items()}
        check(folder, workers_of(fingerprints), options.accept, reporter.warn)
        digests = probe(session, ranks, model, files, config.transport.start_deadline)
        check_answers(digests, ranks, hosts)
        for line in unequal(digests, ranks, fingerprints):
            reporter.warn(line)
    apart = frozenset() if admission is None else admission.apart
    relays, why_not = create_relays(config, ranks, model.d + model.b, hosts, apart)
    if why_not:
        reporter.say(why_not)
    classes = classes_of(digests) if config.groups_within == "class" else ()
    if classes:
        reporter.say(check_classes(config, classes))
    if config.recomputes:
        check_own_bits(digests, ranks, model, files)
    buffers = f" and {model.b} buffers" if model.b else ""
    workers, groups = counted(config.p, "worker"), groups_in_words(config)
    shared_by = "" if config.servers == 1 else f"{config.servers} servers; "
    where = f"{shared_by}{counted(len(set(ranks)), 'rank')} on {counted(len(set(hosts.values())), 'host')}"
    reporter.say(
        f"{config.task}: d = {model.d} parameters{buffers}; p = {workers} {groups}, "
        f"{adversary_in_words(config)}; {where}"
    )
    if worst := worst_in_words(config):
        reporter.say(worst)
    if config.share_compute:
        reporter.say("share_compute: workers of one rank that hold the same file compute it once")
    checkpoint = folder.load_checkpoint(reporter.warn)
    folder.rewind(checkpoint[0] if checkpoint else 0, reporter.warn)
    chain = Chain(folder.chain, config.chained)
    ledger = Ledger(folder.ledger, ranks, hosts)
    secret = folder.keep_secret(lambda: secret_seed(config), known_secret(config))
    trust = config.create_trust()
    scheme = config.create_scheme(secret, classes, None if trust is None else trust.chance)
    quarantine = config.create_quarantine()
    if isinstance(model, SharedModel):
        servers = Servers(session, shared, config.transport.silence)
        session.expect(servers.limits, asked=servers.limits)
        model.share(servers, secret)
    server = Server(
        session,
        ranks,
        model,
        config.compression.create(model.own.d, model.own.b),
        files=files,
        scheme=scheme,
        create_ballot=config.create_ballot(model.d, model.words),
        aggregation=Aggregation(config.hierarchy, scheme, config.aggregator.f, secret),
        ledger=ledger,
        quarantine=quarantine,
        audit=Audit(config.audit.ps, secret, quarantine),
        trust=trust,
        forensics=config.forensics.create(model.d + model.b, model.layout, whole=config.servers == 1),
        chain=chain,
        q=config.q,
        on_tie=config.on_tie,
        deadline=config.transport.deadline,
        fetch_deadline=config.transport.fetch_deadline,
        attendance=admission,
        relays=relays,
    )
    run = Run(config, folder, reporter, server, model, session.channel.library, callback)
    first = run.resume(checkpoint)
    handle_signals(lambda *_: server.stop())
    try:
        finished = run.train(first)
    finally:
        reporter.close()
        if callback is not None:
            callback.close()
        with contextlib.suppress(OSError):  # which came with the line that could not be written
            ledger.close()
    if finished:
        for line in summary_lines(folder.summary(), str(folder.path)):
            reporter.say(line)
    return finished


def create_relays(
    config: Config, ranks: list[int], size: int, hosts: Mapping[int, str], apart: Set[int] = frozenset()
) -> tuple[Relays | None, str]:
    """Which ranks pass on slices of the weights, None where each gets them whole; and why so against the config's word.

    Args:
        config: of the run.
        ranks: rank of each worker.
        size: entries of the weights.
        hosts: host of each rank.
        apart: ranks that others do not reach now; it may change.
    """
    asked = config.transport.relay == "relay"
    if not config.transport.relays(len(set(ranks)), size, config.servers) or not (
        asked or len(set(hosts.values())) >= FROM_HOSTS
    ):
        return None, _too_few_to_relay(len(set(ranks)), config.servers) if asked else ""
    return Relays(ranks, config.q, config.servers, apart), ""


def _too_few_to_relay(ranks: int, servers: int) -> str:
    if ranks == 1:
        return "transport.relay: one rank of workers has nobody to pass slices on to"
    return f"transport.relay: each server needs at least one rank of workers; set servers = {ranks} or less"


def shares_of(config: Config, model: GlobalModel) -> tuple[Share, ...]:
    """What each server owns of the model.

    Raises:
        ConfigError: it is too small for so many.
    """
    try:
        return shares(model.d, model.b, config.servers)
    except AggregatorError as error:
        raise ConfigError(str(error)) from None


def check_classes(config: Config, classes: tuple[tuple[int, ...], ...]) -> str:
    """Says what groups within classes leave of the votes.

    Raises:
        ConfigError: too few for the aggregation.
    """
    sizes, scheme = [len(members) for members in classes], config.create_scheme(classes=classes)
    assignment = scheme.draw(1, range(config.p))
    votes, busy = len(assignment.holders), {worker for worker, _ in assignment.edges}
    found = (
        f"classes of {', '.join(map(str, sizes))} workers with equal bits make {votes} groups of {config.r}; "
        f"{config.p - len(busy)} workers have nothing to do"
    )
    f = scheme.worst_case(config.q, votes) if config.aggregator.f is None else config.aggregator.f
    try:
        config.hierarchy.rehearse(votes, f)
    except AggregatorError as error:
        raise ConfigError(f"groups_within = class: {found}, and the aggregator: {error}") from None
    return found
