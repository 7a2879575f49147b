"""Work on chunks of columns, in order or in a thread pool; they do not depend on the number of threads."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def over_chunks(
    work: Callable[[int, int], T], d: int, size: int, threads: int, block: int | None = None
) -> Iterator[T]:
    """Yield ``work(start, stop)`` for each chunk of `size` of d columns in a block of them, in their order."""
    ends = [(begin, min(begin + block, d)) for begin in range(0, d, block)] if block else [(0, d)]
    bounds = [(start, min(start + size, end)) for begin, end in ends for start in range(begin, end, size)]
    if threads == 1 or len(bounds) == 1:
        yield from (work(*b) for b in bounds)
    else:
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(lambda b: work(*b), bounds)
