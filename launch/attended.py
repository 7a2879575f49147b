"""The life of a parameter server whose workers come by themselves."""

from functools import partial

from detox.config import Config
from detox.launch.admission import Admission
from detox.launch.serve import serve
from detox.launch.training import run_training
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
    fingerprints = [keys.fingerprint(certificate) for certificate in own.peers]

    def admit(session: Session, config: Config, ranks: list[int], model: GlobalModel, files: Files) -> Admission:
        return Admission(session, config, ranks, model, files, channel.hosts, fingerprints)

    return serve(session, argv, partial(run_training, admit=admit))
