"""The same rules by byzfl, and as one would write them with torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def byzfl_rules(n: int, f: int) -> dict[str, Callable[[Any], Any]]:
    """byzfl's rules by our names; none where it is not installed."""
    try:
        import byzfl
    except ImportError:
        return {}
    return {
        "mean": byzfl.Average(),
        "median": byzfl.Median(),
        "trimmed_mean": byzfl.TrMean(f=f),
        "meamed": byzfl.Meamed(f=f),
        "krum": byzfl.Krum(f=f),
        "multi_krum": byzfl.MultiKrum(f=f),
        "geometric_median": byzfl.GeometricMedian(nu=1e-6, T=200),  # its default stops after 3 iterations
        "centered_clipping": byzfl.CenteredClipping(m=None, L=1, tau=100.0),
        "nnm": byzfl.NNM(f=f),
    }


def torch_rules(n: int, f: int) -> dict[str, Callable[[Any], Any]]:
    """The obvious version of each, in two or three lines."""

    def krum_order(x: Any) -> Any:
        nearest = torch.cdist(x, x).square().sort(dim=1).values[:, 1 : n - f - 1]
        return nearest.sum(dim=1).argsort()

    def geometric_median(x: Any) -> Any:
        y = x.mean(dim=0)
        for _ in range(10):
            w = 1 / (x - y).norm(dim=1).clamp(min=1e-6)
            y = (w[:, None] * x).sum(dim=0) / w.sum()
        return y

    def meamed(x: Any) -> Any:
        near = (x - x.median(dim=0).values).abs().argsort(dim=0)[: n - f]
        return x.gather(0, near).mean(dim=0)

    return {
        "mean": lambda x: x.mean(dim=0),
        "median": lambda x: x.median(dim=0).values,
        "trimmed_mean": lambda x: x.sort(dim=0).values[f : n - f].mean(dim=0),
        "meamed": meamed,
        "krum": lambda x: x[krum_order(x)[0]],
        "multi_krum": lambda x: x[krum_order(x)[: n - f - 2]].mean(dim=0),
        "geometric_median": geometric_median,
        "sign_majority": lambda x: x.sign().sum(dim=0).sign(),
    }


def numpy_rules(n: int, f: int) -> dict[str, Callable[[Any], Any]]:
    """Vanilla rules in plain numpy, one pair of vectors at a time (not the released DETOX code itself)."""

    def pairs(x: Any) -> Any:
        squares = np.zeros((n, n))
        for i in range(n):
            for j in range(i):
                squares[i, j] = squares[j, i] = np.linalg.norm(x[i] - x[j]) ** 2
        return squares

    def ranked(squares: Any, left: list[int]) -> list[int]:
        near = [np.sort(squares[i, left])[1 : len(left) - f - 1].sum() for i in left]
        return [left[k] for k in np.argsort(near, kind="stable")]

    def multi_krum(x: Any) -> Any:
        return x[ranked(pairs(x), list(range(n)))[: n - f - 2]].mean(axis=0)

    def bulyan(x: Any) -> Any:
        squares, left, picks = pairs(x), list(range(n)), []
        while len(picks) < n - 2 * f:
            picks.append(ranked(squares, left)[0])
            left.remove(picks[-1])
        chosen = x[picks]
        near = np.abs(chosen - np.median(chosen, axis=0)).argsort(axis=0)[: n - 4 * f]
        return np.take_along_axis(chosen, near, axis=0).mean(axis=0)

    return {"median": lambda x: np.median(x, axis=0), "multi_krum": multi_krum, "bulyan": bulyan}
