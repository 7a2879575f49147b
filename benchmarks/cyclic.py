"""What cyclic codes make of rounding: sums of gradients decoded from coded ones in float32.

python -m benchmarks.cyclic [--draws 200]

Gradient coding's (Tandon et al. 2017, algorithm 2): worker i sends a real combination of the gradients i ... i + s; any
n - s workers decode. DRACO's (Chen et al. 2018): of the 2s + 1 gradients i ... i + 2s, complex; s workers that lie,
known here, are left out, the others decode. Repetition has coefficients of 1, decodes by adding, and keeps bits.
"""

import argparse
from collections.abc import Callable

import numpy as np

from benchmarks.measure import machine

_D = 1000  # entries of a gradient


def gradient_code(n: int, s: int, rng: np.random.Generator) -> np.ndarray:
    """(n, n) float64, row i what worker i sends of the n gradients: orthogonal to s random vectors, as 1 is."""
    checks = rng.standard_normal((s, n))
    checks[:, -1] = -checks[:, :-1].sum(1)
    code = np.zeros((n, n))
    for i in range(n):
        rest = np.arange(i + 1, i + s + 1) % n
        code[i, i], code[i, rest] = 1, np.linalg.solve(checks[:, rest], -checks[:, i])
    return code


def draco_code(n: int, s: int, rng: np.random.Generator) -> np.ndarray:
    """(n, n) complex128, W = C1 Q with row 0 of Q all 1, and W[i, j] = 0 unless j is one of i ... i + 2s mod n."""
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n - 2 * s)) / n) / np.sqrt(n)
    mixed = np.ones((n - 2 * s, n), complex)
    for j in range(n):
        outside = [i for i in range(n) if (j - i) % n > 2 * s]
        mixed[1:, j] = np.linalg.solve(fourier[outside, 1:], -fourier[outside, 0])
    return fourier @ mixed


def decoded(code: np.ndarray, left: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """The amplification of rounding, and the error that is measured: both relative to that of a sum.

    Args:
        code: (n, n), what each worker sends of the n gradients.
        left: the workers that are heard.
        wanted: (n, _D) float32, the gradients.
    """
    weights = np.linalg.lstsq(code[left].T, np.ones(len(code)), rcond=None)[0]
    kind = np.complex64 if np.iscomplexobj(code) else np.float32
    sent = code[left].astype(kind) @ wanted.astype(kind)
    total = wanted.astype(np.float64).sum(0)
    error = np.linalg.norm((weights.astype(kind) @ sent).real - total) / np.linalg.norm(total)
    return float((np.abs(weights) @ np.abs(code[left])).max()), float(error)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser("benchmarks.cyclic", description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200, help="of a code and of who is missing, each row")
    options = parser.parse_args()
    print(machine(), end="\n\n")
    print("| code | n | s | amplification: median, most | relative error of the sum: median, most |")
    print("|---|---|---|---|---|")
    codes: dict[str, Callable[[int, int, np.random.Generator], np.ndarray]] = {
        "gradient coding, cyclic": gradient_code,
        "DRACO, cyclic": draco_code,
    }
    for name, create in codes.items():
        for n, s in ((15, 2), (15, 3), (45, 2), (45, 5), (45, 9)):
            found = []
            for draw in range(options.draws):
                rng = np.random.default_rng([n, s, draw])
                left = np.sort(rng.permutation(n)[s:])
                found.append(decoded(create(n, s, rng), left, rng.standard_normal((n, _D), np.float32)))
            (gain, error), (worst, most) = np.median(found, 0), np.max(found, 0)
            print(f"| {name} | {n} | {s} | {gain:.1e}, {worst:.1e} | {error:.1e}, {most:.1e} |", flush=True)


if __name__ == "__main__":
    main()
