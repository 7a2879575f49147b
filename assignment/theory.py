"""How many votes q Byzantine workers win: exact distributions, and the paper's bounds beside them.

Here p workers are split into m = p/r groups of r, uniformly at random and unknown to the adversary; a group's vote is
bad if (r+1)/2 or more of its members are Byzantine, and q_e is the number of bad votes (DETOX, section 4).
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from itertools import accumulate, repeat

from detox.assignment.schemes import worst_case


def bad_group(p: int, q: int, r: int) -> Fraction:
    """The probability that one group's vote is bad: a hypergeometric tail."""
    majority = (r + 1) // 2
    return Fraction(sum(math.comb(q, i) * math.comb(p - q, r - i) for i in range(majority, r + 1)), math.comb(p, r))


def expected_bad_votes(p: int, q: int, r: int, m: int | None = None) -> Fraction:
    """E[q_e] = m times the probability of a bad group."""
    return (p // r if m is None else m) * bad_group(p, q, r)


def bad_votes(p: int, q: int, r: int, m: int | None = None) -> list[Fraction]:
    """P(q_e = k) for k = 0 ... m, exactly; m is p/r, or less where some workers have no group.

    Of the C(p, q) placements those with k bad groups number C(m, k) [x^q] B(x)^k G(x)^(m-k) (1+x)^(p-mr), where G and B
    generate the ways to place i < (r+1)/2 and i >= (r+1)/2 Byzantine workers in one group; the rest have no group.
    """
    m = p // r if m is None else m
    if r == 1:
        return [Fraction(k == q) for k in range(m + 1)]
    majority, worst, idle = (r + 1) // 2, worst_case(q, r, m), p - m * r
    # A polynomial, up to x^q, is one integer, `bits` a coefficient: that of x^i is at most C(p, i), and stays in them.
    bits = math.comb(p, min(q, p // 2)).bit_length()
    kept = (1 << bits * (q + 1)) - 1
    good: int = sum(math.comb(r, i) << bits * i for i in range(majority))
    bad: int = sum(math.comb(r, i) << bits * i for i in range(majority, r + 1))

    rest: int = sum(math.comb(idle, i) << bits * i for i in range(min(idle, q) + 1))

    def powers(base: int, last: int, initial: int) -> Iterator[int]:
        return accumulate(repeat(base, last), lambda power, base: power * base & kept, initial=initial)

    goods = deque(powers(good, m, rest), maxlen=worst + 1)
    ways = [
        math.comb(m, k) * ((power * goods.pop() & kept) >> bits * q) for k, power in enumerate(powers(bad, worst, 1))
    ]
    return [Fraction(count, math.comb(p, q)) for count in ways] + [Fraction(0)] * (m - worst)


def copies(p: int, q: int, r: int) -> float:
    """Copies of a file that are computed, on average, where they are lazy and all q Byzantine workers lie alike.

    Holders are asked until m = (r+1)/2 have claimed the same: C(h, l) = 0 where h or l is m, else
    1 + a C(h, l+1) + (1-a) C(h+1, l) after h honest claims and l others, with a = (q-l)/(p-h-l) for the next one.
    """
    m = (r + 1) // 2

    @cache
    def further(honest: int, lies: int) -> float:
        if m in (honest, lies):
            return 0.0
        lie = (q - lies) / (p - honest - lies)
        another_lie = lie * further(honest, lies + 1) if lie > 0 else 0.0
        return 1 + another_lie + ((1 - lie) * further(honest + 1, lies) if lie < 1 else 0.0)

    return further(0, 0)


def all_byzantine(p: int, q: int, asked: Iterable[int]) -> Fraction:
    """Files per step, on average, of which all that are asked at first are Byzantine: nobody contradicts them.

    Args:
        p, q: workers, and Byzantine ones among them.
        asked: of each file, how many are asked at first.
    """
    files = Counter(asked).items()
    return sum((count * Fraction(math.comb(q, n), math.comb(p, n)) for n, count in files), Fraction(0))


def until_audited(p: int, q: int, asked: int, audited: int) -> tuple[float, float]:
    """Bad votes in a whole run, and its steps, where Byzantine workers lie only about files that are all theirs.

    Averages, to which two such files in one step and the step or two until a proof counts add little. Of F files the PS
    computes n itself; so F/n - 1 of these go by until one is among them, and proves all that were asked for it.

    Args:
        p, q: workers, and Byzantine ones among them.
        asked: how many workers are asked for a file at first.
        audited: n.
    """
    bad = steps = 0.0
    while q >= asked:
        files = p // asked
        bad += max(0.0, files / audited - 1)
        steps += 1 / (min(1.0, audited / files) * files * (math.comb(q, asked) / math.comb(p, asked)))
        p, q = p - asked, q - asked
    return bad, steps


def audited_bad_votes(p: int, q: int, k: int) -> Fraction:
    """E[q_e] where k of p workers compute again what k of the other p - k do, and all q Byzantine workers lie alike.

    A file that is not audited is bad if its one holder is Byzantine; of an audited one, two of its three are, of which
    the third is asked only where the two disagree.
    """
    return (p - 2 * k) * Fraction(q, p) + k * bad_group(p, q, 3) if k else Fraction(q)


def effort(p: int, q: int, r: int, m: int) -> float:
    """What bad_votes takes, roughly, in units of its own: m products of integers of so many bits."""
    if r == 1:
        return 0.0
    kept = min(q, p // 2)
    bits = (math.lgamma(p + 1) - math.lgamma(kept + 1) - math.lgamma(p - kept + 1)) / math.log(2) + 1
    return float(m * (bits * (q + 1)) ** 1.6)


def exceeds(distribution: list[Fraction], f: int) -> Fraction:
    """P(q_e > f)."""
    return sum(distribution[f + 1 :], Fraction(0))


def tail(distribution: list[Fraction]) -> list[Fraction]:
    """P(q_e >= k) for each k."""
    return list(accumulate(reversed(distribution)))[::-1]


def enough_redundancy(q: int, r: int) -> bool:
    """The condition of the paper's bounds on r, r >= 3 + 2 log2(q).

    It takes a small q/p besides: at (p, q, r) = (1125, 375, 25), E[q_e] = 1.79 is above its bound of 1.
    """
    return q == 0 or r >= 3 + 2 * math.log2(q)


def tail_bound(k: int) -> float:
    """The paper's bound on P(q_e >= k): P(q_e > x) <= delta with x = 1 + 2 ln(1/delta), for every x below k."""
    return min(1.0, math.exp((1 - k) / 2))


def tail_bound_holds(distribution: list[Fraction]) -> bool:
    """Whether no P(q_e >= k) is above the paper's bound."""
    return all(share <= tail_bound(k) for k, share in enumerate(tail(distribution)))
