"""The ranks that the doctor looks at: what it knows of each, and how that is shown."""

from dataclasses import dataclass

import numpy as np
from rich.table import Table
from rich.text import Text


@dataclass
class Patient:
    """What is known of one rank of workers.

    Attributes:
        rank: the rank.
        facts: what it says of itself (detox.launch.environment.fingerprint, or "error").
        latency: seconds of half a round trip, the median; None, like the rest: not measured.
        bandwidth: bytes per second, there and back, the best.
        clock: seconds that its clock is ahead of the PS's.
        memory: bytes that are available.
        digest: BLAKE3 of its gradient of the probe, 32 bytes.
        gradient: that gradient, (d + b,) float32, kept of one rank of each class of equal bits.
    """

    rank: int
    facts: dict[str, str]
    latency: float | None = None
    bandwidth: float | None = None
    clock: float | None = None
    memory: int | None = None
    digest: bytes | None = None
    gradient: np.ndarray | None = None

    @property
    def host(self) -> str:
        """Its host's name for itself."""
        return self.facts.get("host", "?")


def table(patients: list[Patient]) -> Table:
    """One row per rank; what a rank says of itself is text, not markup."""
    columns = ["rank", "host", "latency", "bandwidth", "clock", "memory", "torch", "instructions", "bits"]
    gpus = any(patient.facts.get("gpu") for patient in patients)
    out = Table(*columns, *["GPU"] * gpus)
    classes = list(dict.fromkeys(patient.digest for patient in patients if patient.digest is not None))
    for p in patients:
        out.add_row(
            str(p.rank),
            Text(p.host),
            "-" if p.latency is None else f"{1000 * p.latency:.2f} ms",
            "-" if p.bandwidth is None else f"{p.bandwidth / 1e6:.0f} MB/s",
            "-" if p.clock is None else f"{p.clock:+.3f} s",
            "-" if p.memory is None else f"{p.memory / 1e9:.1f} GB",
            Text(p.facts.get("torch", "-")),
            Text(p.facts.get("cpu_capability", "-")),
            "-" if p.digest is None else f"class {1 + classes.index(p.digest)}",
            *[Text(" ".join(p.facts.get(name, "-") for name in ("gpu_number", "gpu", "gpu_driver")))] * gpus,
        )
    return out
