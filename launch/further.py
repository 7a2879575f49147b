"""A rank that is a further server: what it is made of."""

from collections.abc import Callable, Iterable

from detox.aggregators import shares
from detox.config import Config
from detox.ps.aggregation import Aggregation
from detox.ps.further import FurtherServer, Peers
from detox.ps.outgoing import Outgoing
from detox.ps.share import OwnShare
from detox.tasks import FlatModel, Task
from detox.tasks.devices import host_rows
from detox.wire import DIGEST_BYTES, ENDLESS, Kind, Session
from detox.wire.slices import Routes

START_LIMIT = 2**26  # bytes


def create_server(
    session: Session,
    rank: int,
    config: Config,
    ranks: list[int],
    task: Task,
    model: FlatModel,
    near: Callable[[Iterable[int]], Session],
) -> FurtherServer:
    """The server that this rank is.

    Args:
        session: the conversation with the PS.
        rank: this rank, from 1 to servers - 1.
        config: of the run.
        ranks: rank of each worker.
        task: has the samples, of which a server needs none.
        model: of which it has a share.
        near: makes its conversation with others that are not the PS.
    """
    session.poll = config.transport.poll
    shared = shares(model.d, model.b, config.servers)
    share = shared[rank]
    session.expect(
        {
            Kind.BEGIN: ENDLESS,
            Kind.BEHIND: 0,
            Kind.STEP: Routes.limit(len(set(ranks))),
            Kind.MISSING: 0,
            Kind.FETCH: DIGEST_BYTES,
            Kind.UPDATE: START_LIMIT,
            Kind.PART: 0,
            Kind.SUM: ENDLESS,
            Kind.STATE: 1,
            Kind.START: START_LIMIT,
            Kind.QUIT: 0,
        }
    )
    workers = near(sorted(set(ranks)))
    peers = Peers(session, workers, share.begin, share.trained, config.transport.silence)
    own = OwnShare(model, share, config.optimizer.name, config.optimizer.arguments, peers)
    scheme = config.create_scheme()
    rows = host_rows(config.create_files(task).count, share.d + share.b, model.device)
    return FurtherServer(
        session,
        workers,
        ranks,
        peers,
        Outgoing(workers, rank, [share.end - share.begin for share in shared]),
        own,
        config.compression.create(share.d, share.b),
        rows,
        lambda f, secret: Aggregation(config.hierarchy, scheme, f, secret),
        config.transport.silence,
    )
