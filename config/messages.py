"""How the messages of a run travel: their compression, deadlines and pace."""

from typing import Annotated, Literal

from pydantic import Field

from detox.config.address import EVERYWHERE, parse_address
from detox.config.fields import ConfigError, Count, Seconds, Section
from detox.wire import Codec
from detox.wire.slices import fewest, pays


class CompressionConfig(Section):
    """Compression of gradients on their way to the PS: without loss (blosc), rounded before it, or to signs."""

    kind: Literal["float32", "bf16", "sign"] = "float32"
    """float32: every bit of the gradient. bf16: its entries rounded to bfloat16, which codec with bitshuffle then makes
    small. sign: one bit per entry, +1 for zero and NaN. Batch-norm statistics stay float32."""
    codec: Literal["none", "blosclz", "lz4", "lz4hc", "zlib", "zstd"] = "lz4"
    """Compressor; none sends the plain bytes."""
    filter: Literal["none", "shuffle", "bitshuffle"] = "bitshuffle"
    """Reordering before compression: of bytes or of bits."""
    level: Annotated[int, Field(ge=0, le=9)] = 1
    """Effort, 0 (none) to 9."""

    def create(self, d: int, b: int) -> Codec:
        """The codec of gradients with d parameters and b buffers."""
        signs, rounded = (d if self.kind == kind else 0 for kind in ("sign", "bf16"))
        return Codec(d + b, self.codec, self.filter, self.level, signs, rounded)


class TransportConfig(Section):
    """The channel of the messages, their deadlines and pace."""

    channel: Literal["mpi", "tcp"] = "mpi"
    """What carries messages between the PS and ranks that mpirun has started. mpi: MPI. tcp: TCP with TLS, as for
    `detox-ps join`: MPI starts the ranks, and brings each the key that was made for it, unencrypted: whoever reads that
    can speak as any rank. See docs/hostile-hosts.md."""
    listen: str | None = None
    """HOST or HOST:PORT that ranks dial where channel = "tcp"; they have to reach it. Unset: loopback where mpirun has
    started all ranks on this host, else the hostfile's first host, or the PS's name for itself; any port. An address of
    IPv6 stands in brackets."""
    start_deadline: Seconds = 300.0
    """Seconds for all ranks to load their data and to pass the self-test. `detox-ps launch` gives the PS a minute
    more to begin: for all ranks to come as far as MPI, and to look at a run that has finished already."""
    p_min: Count | None = None
    """Workers that are enough to start, and to go on, where they come over TCP: the others are left out until they
    come. Unset: all p to start, one to go on."""
    absence: Seconds = 30.0
    """Seconds that a worker may be cut off, over TCP, until files are drawn for the others alone, as long as their
    votes are enough; it takes part again as soon as it is back."""
    deadline: Seconds | Literal["auto"] = "auto"
    """Seconds that a step may take until the PS goes on with the votes it has. auto: whoever keeps steps waiting longer
    than the others is passed over until it keeps up, and a step may take 60 seconds, more where all are slow; see
    docs/protocol.md."""
    fetch_deadline: Seconds | Literal["auto"] = "auto"
    """Seconds for one gradient that was asked for, until the next of the majority is asked. auto: as long as such
    answers take, with some room; 20 while that is not known."""
    relay: Literal["auto", "star", "relay"] = "auto"
    """How weights go out. star: the PS sends them to every rank. relay: it sends each rank a slice, which that rank
    passes on to all others, and the digests of all slices, so that none can change one; what does not come in time, the
    PS sends. Several servers do so, each with its share. auto: over MPI, relay from 6 ranks on 4 hosts and 1 MiB of
    weights on, else star. Ranks that `detox-ps join` started pass slices on where they were given --listen. The weights
    are the same to the bit; see docs/protocol.md."""
    poll: Annotated[float, Field(gt=0, le=1)] = 0.0005
    """Seconds of sleep where nothing has arrived."""
    silence: Seconds = 600.0
    """Seconds without a word from the PS, and without work, after which a worker's rank leaves; more than a
    step may take: with deadline = "auto", five times what a gradient does, where that is minutes. With several servers,
    also those without an answer of a server after which the run ends."""

    def relays(self, ranks: int, size: int, servers: int = 1) -> bool:
        """Whether weights go out as slices that ranks pass on, where these can reach each other.

        Args:
            ranks: of workers.
            size: entries of the weights.
            servers: that share them.
        """
        asked = self.relay == "relay" or (self.relay == "auto" and self.channel == "mpi" and pays(ranks, size))
        return asked and ranks >= fewest(ranks, servers)

    def why_not(self) -> str:
        """Why the fields do not go together; empty where they do."""
        if self.listen is not None:
            try:
                host, _ = parse_address("transport.listen", self.listen, port=0)
            except ConfigError as error:
                return str(error)
            if self.channel != "tcp":
                return f'transport.listen = {self.listen}: nobody dials over MPI; set transport.channel = "tcp"'
            if host in EVERYWHERE:
                return f"transport.listen = {self.listen}: ranks cannot dial all addresses of a host; name one of them"
        if self.deadline != "auto" and self.deadline >= self.silence:
            return (
                f"transport.silence = {self.silence:g} s is no longer than a step may take, transport.deadline = "
                f"{self.deadline:g} s: ranks would leave in it; set transport.silence = {2 * self.deadline:g}"
            )
        return ""
