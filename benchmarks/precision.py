"""How precise the aggregators' distances are, and how often Krum finds its true winner (docs/aggregators.md).

python -m benchmarks.precision [--columns 4000000]
"""

import argparse

import numpy as np
import numpy.typing as npt

from detox.aggregators import RULES
from detox.aggregators.geometry import squared_distances
from detox.aggregators.kernels.fast import FastRows
from detox.aggregators.rows import Rows

N = 15


def greatest_error(x: npt.NDArray[np.floating]) -> float:
    """Greatest relative error of the squared distances, against differences in long double."""
    rows = FastRows(x) if FastRows.serves(x) else Rows(x)
    squares, exact = squared_distances(rows.gram()), np.zeros((N, N))
    for i in range(N):
        for j in range(i):
            difference = x[i].astype(np.longdouble) - x[j]
            exact[i, j] = float(difference @ difference)
    low = np.tril_indices(N, -1)
    return float(np.max(np.abs(squares[low] - exact[low]) / exact[low]))


def winners(kind: type, spread: float, seeds: int = 100) -> int:
    """In how many seeds Krum picks its true winner, beside two vectors at 1e38."""
    right = 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        x = (rng.normal(size=2000) + spread * rng.normal(size=(N, 2000))).astype(kind)
        x[2], x[9] = 1e38, -1e38
        wide = x.astype(np.longdouble)
        squares = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
        best = np.argmin(np.sort(squares, axis=1)[:, 1 : 1 + N - 4].sum(axis=1))
        right += np.array_equal(RULES["krum"](x, f=2), x[best])
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--columns", type=int, default=4_000_000, help="of the normal vectors")
    columns = parser.parse_args().columns
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((N, columns), np.float32)
    print(f"float32, normal, d = {columns}: {greatest_error(normal):.1e}")
    for d in (17, 1000, 100_000):
        print(f"float32, normal, d = {d}: {greatest_error(rng.standard_normal((N, d), np.float32)):.1e}")
    constant = np.broadcast_to(np.arange(N, dtype=np.float32)[:, None] / 3, (N, 100_000)).copy()
    print(f"float32, each vector constant, d = 100000: {greatest_error(constant):.1e}")
    for spread in (1e-4, 1e-8):
        close = rng.normal(size=100_000) + spread * rng.normal(size=(N, 100_000))
        print(f"float64, spread / norm {spread:.0e}, d = 100000: {greatest_error(close):.1e}")
    for kind, spread in ((np.float32, 1e-4), (np.float32, 1e-6), (np.float64, 1e-8), (np.float64, 1e-12)):
        print(f"{np.dtype(kind)}, spread / norm {spread:.0e}: {winners(kind, spread)} of 100 true Krum winners")


if __name__ == "__main__":
    main()
