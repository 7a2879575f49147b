"""Attacks that hide among honest gradients: colluders agree on one vector, from all that they know together."""

from collections import deque
from functools import cache
from statistics import NormalDist

import numpy as np

from detox.worker.knowledge import Knowledge


def alie(k: Knowledge) -> np.ndarray:
    """`mu + scale * sigma`, per coordinate ("A Little Is Enough", Baruch et al. 2019, arXiv 1902.06156, Alg. 3)."""
    moved: np.ndarray = k.known.mean(axis=0) + np.float32(k.scale) * k.known.std(axis=0)
    return moved


def alie_z(n: int, m: int) -> float:
    """The greatest z that m of n workers can hide (arXiv 1902.06156, Alg. 3, lines 1-2).

    Phi^-1((n - m - s) / (n - m)) with s = floor(n/2 + 1) - m supporters needed among the honest.
    """
    supporters = max(1, n // 2 + 1 - m)
    return NormalDist().inv_cdf((n - m - supporters) / (n - m)) if n - m > supporters else 0.0


def ipm(k: Knowledge) -> np.ndarray:
    """`-scale * mu`: inner-product manipulation, "Fall of Empires" (Xie et al. 2019, arXiv 1903.03936)."""
    reflected: np.ndarray = np.float32(-k.scale) * k.known.mean(axis=0)
    return reflected


def opt_alie(k: Knowledge) -> np.ndarray:
    """`mu + a * sigma`, with the a, of either sign, up to `scale` that moves the aggregate in use the farthest; its
    sign is that of the first step (idea: Shejwalkar, Houmansadr 2021, NDSS).

    What goes to one side adds up over steps; what changes its side cancels out.
    """
    mean, sigma = k.known.mean(axis=0), k.known.std(axis=0)
    side = k.memory.get("side")
    factor = _strongest(k, mean, sigma, signs=(1, -1) if side is None else (side,))
    k.memory.setdefault("side", int(np.copysign(1, factor)))
    moved: np.ndarray = mean + np.float32(factor) * sigma
    return moved


def opt_ipm(k: Knowledge) -> np.ndarray:
    """`-a * mu`, with the a up to `scale` that moves the aggregate in use the farthest (idea: Shejwalkar, Houmansadr
    2021, NDSS).
    """
    mean = k.known.mean(axis=0)
    reflected: np.ndarray = np.float32(-_strongest(k, np.zeros_like(mean), -mean)) * mean
    return reflected


def min_max(k: Knowledge) -> np.ndarray:
    """`mu + scale * gamma * u`, with the greatest gamma that leaves it no farther from any known gradient than two of
    them are apart (Shejwalkar, Houmansadr 2021, NDSS).

    Their search for gamma ends at the least of the roots of |gamma u - (x_i - mu)|^2 = max |x_i - x_j|^2, which is
    taken here directly.
    """
    mean, u = _mean_and_perturbation(k)
    centred, products, distances = _geometry(k)
    along, length = (centred @ u[: k.d]).astype(np.float64), float(u[: k.d] @ u[: k.d])
    slack = np.maximum(0.0, distances.max() - products.diagonal())
    gamma = ((along + np.sqrt(along**2 + length * slack)) / length).min() if length > 0 else 0.0
    return mean + np.float32(k.scale * gamma) * u


def min_sum(k: Knowledge) -> np.ndarray:
    """`mu + scale * gamma * u`, with the greatest gamma that leaves its sum of squared distances to the known gradients
    no greater than that of one of them (Shejwalkar, Houmansadr 2021, NDSS).

    The sum is sum_i |gamma u - (x_i - mu)|^2 = m gamma^2 |u|^2 + sum_i |x_i - mu|^2.
    """
    mean, u = _mean_and_perturbation(k)
    _, products, distances = _geometry(k)
    length = len(distances) * float(u[: k.d] @ u[: k.d])
    slack = max(0.0, distances.sum(axis=1).max() - products.trace())
    gamma = np.sqrt(slack / length) if length > 0 else 0.0
    return mean + np.float32(k.scale * gamma) * u


def mimic(k: Knowledge) -> np.ndarray:
    """A copy of one honest gradient, of the file that stands out most along the direction of greatest variance over the
    first `scale` steps, and of that file from then on (Karimireddy et al. 2022, arXiv 2006.09365).
    """
    if k.memory.setdefault("steps", 0) < k.scale or not k.memory["scores"]:
        _watch(k)
    scores = k.memory["scores"]
    target = max(range(len(k.files)), key=lambda row: abs(scores.get(k.files[row], 0.0)))
    copied: np.ndarray = k.known[target].copy()
    return copied


def delayed(k: Knowledge) -> np.ndarray:
    """An honest gradient of `scale` steps ago, that of the first known file; in the first steps the oldest there is."""
    past: deque[np.ndarray] = k.memory.setdefault("past", deque(maxlen=1 + max(0, int(k.scale))))
    past.append(k.known[0].copy())
    return past[0].copy()


def _strongest(k: Knowledge, start: np.ndarray, direction: np.ndarray, signs: tuple[int, ...] = (1,)) -> float:
    """The a with which `start + a * direction` moves the aggregate farthest from the mean of the known gradients.

    Of 25 factors from `scale` down by the root of 2, with each of the signs, and then eight between the neighbours of
    the best: the damage to some rules has several peaks, and cliffs.
    """
    if k.rehearse is None:
        raise ValueError("a line search needs the aggregation in use: Knowledge.rehearse")
    defence, truth = k.rehearse(), k.gradients.mean(axis=0)

    @cache  # the best is tried again
    def damage(factor: float) -> float:
        return float(np.linalg.norm(defence(start + np.float32(factor) * direction) - truth))

    sizes = k.scale * 2.0 ** np.arange(-12, 0.5, 0.5)
    best = max((sign * size for sign in signs for size in sizes), key=damage)
    between = np.linspace(best / 2**0.5, min(best * 2**0.5, np.copysign(k.scale, best), key=abs), 8)
    return float(max([best, *between], key=damage))


def _mean_and_perturbation(k: Knowledge) -> tuple[np.ndarray, np.ndarray]:
    """mu and u, (d + b,) each."""
    mean = k.known.mean(axis=0)
    if k.perturbation == "std":
        return mean, -k.known.std(axis=0)
    if k.perturbation == "sign":
        return mean, -np.sign(mean)
    norm = np.linalg.norm(mean[: k.d])
    return mean, -mean / norm if norm > 0 else np.zeros_like(mean)


def _geometry(k: Knowledge) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients about their mean, (m, d), their products and their squared distances, (m, m) float64."""
    centred = k.gradients - k.gradients.mean(axis=0)
    products = (centred @ centred.T).astype(np.float64)
    norms = products.diagonal()
    return centred, products, np.maximum(0.0, norms[:, None] + norms - 2 * products)


def _watch(k: Knowledge) -> None:
    """One step of Oja's rule, as in the paper's code; a file's score sums its deviations along the direction."""
    steps, gradients = k.memory["steps"], k.gradients
    mean = k.memory.get("mean", np.float32(0)) * np.float32(steps / (steps + 1))
    k.memory["mean"] = mean = mean + gradients.mean(axis=0) / np.float32(steps + 1)
    centred = gradients - mean
    direction = k.memory.get("direction")
    if direction is None:
        direction = k.rng.standard_normal(gradients.shape[1], np.float32)
    pull = (centred @ direction) @ centred
    if (norm := np.linalg.norm(pull)) > 0:
        direction = np.float32(steps) * direction + pull / norm if steps else pull
        direction = direction / np.linalg.norm(direction)
    scores = k.memory.setdefault("scores", {})
    for file, deviation in zip(k.files, centred @ direction, strict=True):
        scores[file] = scores.get(file, 0.0) + float(deviation)
    k.memory["direction"] = direction
    k.memory["steps"] = steps + 1
