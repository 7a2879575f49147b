"""Sorting networks: which pairs of values to compare and exchange, whatever the values are."""

from collections.abc import Iterable

Network = list[tuple[int, int]]


def batcher(n: int) -> Network:
    """Comparators (low, high) that sort n values in ascending order: Batcher's odd-even merge sort (1968)."""
    network: Network = []
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                wires = range(j, min(j + k, n - k))
                network += [(i, i + k) for i in wires if i // (2 * p) == (i + k) // (2 * p)]
            k //= 2
        p *= 2
    return network


def prune(network: Network, single: Iterable[int], summed: Iterable[int] = ()) -> Network:
    """The comparators that matter where the `single` outputs are wanted, and the sum of the `summed` ones.

    An exchange of two values is idle where neither is wanted, or nothing but their sum.
    """
    use = dict.fromkeys(summed, "sum") | dict.fromkeys(single, "single")
    kept = []
    for low, high in reversed(network):
        if use.get(low) == use.get(high) != "single":
            continue
        kept.append((low, high))
        use[low] = use[high] = "single"
    return kept[::-1]


def local(network: Network) -> Network:
    """The same network in an order that comes back to a value soon, while a register still has it.

    Next is always, of the comparators that wait for no other, the one that last met its two values.
    """
    queues: dict[int, list[int]] = {}
    for index, wires in enumerate(network):
        for wire in wires:
            queues.setdefault(wire, []).append(index)
    met = dict.fromkeys(queues, -1)
    done: Network = []
    while len(done) < len(network):
        heads = {queue[0] for queue in queues.values() if queue}
        ready = [i for i in heads if all(queues[wire][0] == i for wire in network[i])]
        best = max(ready, key=lambda i: (*sorted(met[wire] for wire in network[i]), -i))
        for wire in network[best]:
            queues[wire].pop(0)
            met[wire] = len(done)
        done.append(network[best])
    return done
