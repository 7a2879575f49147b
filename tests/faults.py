"""The faults that can be injected, by what can bring them about, and what the ledger says of each."""

# Each in a group of its own, with two honest fellows.
HEADERS = {
    "silent": {"silent"}, "late": {"silent"}, "magic": {"silent"}, "version": {"silent"}, "checksum": {"silent"},
    "length": {"silent"}, "garbage": {"silent"}, "truncated": {"silent"}, "overlong": {"silent"},
    "rank": {"silent"}, "kind": {"silent"},
}  # fmt: skip
CONTENTS = {
    "step": {"silent", "malformed"}, "file": {"silent", "malformed"},
    "duplicate": {"agreed", "malformed"}, "equivocate": {"agreed", "equivocated"}, "lie": {"agreed", "lied"},
    "bomb": {"agreed", "malformed", "withheld"}, "withhold": {"agreed", "withheld"},
    "tarry": {"agreed", "withheld"},
    "bit_flip": {"dissented"}, "nan": {"dissented"}, "inf": {"dissented"},
    "nullify": {"dissented"}, "stripe": {"dissented"}, "sdc": {"dissented"},
}  # fmt: skip
RANKS = [("kill", "segfault", "stop"), ("exit", "exception", "straggle"), ("abort", "flood_small", "flood_large")]


def faults(workers, kinds):
    """The options that give each of the workers its fault."""
    return ["--fault.worker", *map(str, workers), "--fault.kind", *kinds]


def options_of(kinds):
    """The options of an honest run, and those that give the first worker of each group a fault."""
    honest = ["--q", "0", "--p", str(3 * len(kinds)), "--groups", "fixed"]
    patience = ["--transport.deadline", "20", "--transport.fetch-deadline", "4", "--fault.seconds", "15"]
    return honest, [*patience, *faults([3 * place for place in range(len(kinds))], kinds)]


def check_ledger(summary, kinds):
    """Each faulty worker has the entries of its fault, and all others have agreed in each of 20 steps."""
    assert summary["skipped_steps"] == 0
    assert summary["votes"]["none"] == 0
    faulty = {3 * place: kind for place, kind in enumerate(kinds)}
    for worker, kind in faulty.items():
        counts = summary["ledger"][worker]
        assert counts.keys() - {"agreed", "late"} == kinds[kind] - {"agreed"}, (kind, counts)
        assert counts["agreed"] == (20 if "agreed" in kinds[kind] else 1), (kind, counts)
    for worker, counts in enumerate(summary["ledger"]):
        assert worker in faulty or counts == {"agreed": 20}, (worker, counts)
