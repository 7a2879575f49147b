"""The life of a parameter server, under mpirun or without, whose workers may come by themselves."""

from functools import partial

from detox.config import Config
from detox.launch.admission import Admission
from detox.launch.over_tcp import listen
from detox.launch.serve import serve
from detox.launch.train import Options
from detox.launch.training import Admit, run_training
from detox.ps.folder import RunFolder
from detox.ps.model import GlobalModel
from detox.tasks.samples import Files
from detox.wire import Session, keys
from detox.wire.tcp import Channel


def serve_on(channel: Channel, own: keys.Keys, session: Session, argv: list[str]) -> tuple[int, bool]:
    """The life of a parameter server whose workers come by themselves; see detox.launch.serve.serve.

    Args:
        channel: where they come.
        own: the keys of this end, by which it knows them.
        session: the conversation on the channel.
        argv: of `detox-ps train`.
    """
    return serve(session, argv, partial(run_training, admit=_admit(channel, own)))


def serve_job(session: Session, argv: list[str]) -> tuple[int, bool]:
    """The life of a parameter server whose ranks mpirun has started; see detox.launch.serve.serve.

    Args:
        session: the conversation with them, over MPI.
        argv: of `detox-ps train`.
    """
    return serve(session, argv, _train_job)


def _train_job(session: Session, config: Config, options: Options, ranks: list[int], folder: RunFolder) -> bool:
    admit = _admit(*listen(session, config.transport)) if config.transport.channel == "tcp" else None
    return run_training(session, config, options, ranks, folder, admit)


def _admit(channel: Channel, own: keys.Keys) -> Admit:
    fingerprints = {rank: keys.fingerprint(certificate) for rank, certificate in enumerate(own.peers)}

    def admit(session: Session, config: Config, ranks: list[int], model: GlobalModel, files: Files) -> Admission:
        return Admission(session, config, ranks, model, files, channel.hosts, fingerprints)

    return admit
