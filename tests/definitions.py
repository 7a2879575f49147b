"""The definition of every rule: slow, in float64, one vector and one coordinate at a time."""

import itertools
import math

import numpy as np


def distance(a, b):
    """Squared; infinite where a vector has a NaN or an infinity."""
    return float(((a - b) ** 2).sum()) if np.isfinite(a).all() and np.isfinite(b).all() else math.inf


def norm(a):
    return math.sqrt(distance(a, np.zeros_like(a)))


def nearest_first(keys):
    """Indices by key, ties to the lower index."""
    return sorted(range(len(keys)), key=lambda i: (keys[i], i))


def extremes_last(column):
    """Sorted; NaN is greater than all."""
    return sorted(column, key=lambda v: (math.isnan(v), v))


def mean(x, f):
    return x.mean(axis=0)


def trimmed_mean(x, f):
    return np.array([np.mean(extremes_last(column)[f : len(x) - f]) for column in x.T])


def median(x, f):
    return trimmed_mean(x, (len(x) - 1) // 2)


def nearest_values(x, centre, keep):
    def average(column, c):
        values = [math.inf if math.isnan(v) else v for v in column]
        return np.mean(sorted(values, key=lambda v: (abs(v - c), v))[:keep])

    return np.array([average(column, c) for column, c in zip(x.T, centre, strict=True)])


def meamed(x, f):
    return nearest_values(x, median(x, f), len(x) - f)


def phocas(x, f):
    return nearest_values(x, trimmed_mean(x, f), len(x) - f)


def krum_scores(x, neighbours):
    others = lambda i: sorted(distance(x[i], x[j]) for j in range(len(x)) if j != i)  # noqa: E731
    return [sum(others(i)[:neighbours]) for i in range(len(x))]


def krum(x, f):
    return x[nearest_first(krum_scores(x, len(x) - f - 2))[0]]


def multi_krum(x, f):
    return x[nearest_first(krum_scores(x, len(x) - f - 2))[: len(x) - f - 2]].mean(axis=0)


def bulyan(x, f):
    left, picks = list(range(len(x))), []
    while len(picks) < len(x) - 2 * f:
        scores = krum_scores(x[left], max(1, len(left) - f - 2))
        picks.append(left.pop(nearest_first(scores)[0]))
    chosen = x[sorted(picks)]
    return nearest_values(chosen, median(chosen, f), len(chosen) - 2 * f)


def bulyan_released(x, f):
    """As in DETOX's released code: scored once, and the middle values of those that are picked."""
    picks = nearest_first(krum_scores(x, len(x) - f - 2))[: len(x) - f - 2]
    return trimmed_mean(x[picks], f)


def geometric_median(x, f):
    x = x[np.isfinite(x).all(axis=1)]
    y = np.median(x, axis=0)
    for _ in range(20_000):
        w = 1 / np.maximum(np.linalg.norm(x - y, axis=1), 1e-14 * (1 + np.linalg.norm(y)))
        last, y = y, (w[:, None] * x).sum(axis=0) / w.sum()
        if np.array_equal(last, y):  # and so it would stay
            break
    return y


def median_of_means(x, f):
    return geometric_median(np.stack([b.mean(axis=0) for b in np.array_split(x, 2 * f + 1)]), f)


def mda(x, f):
    diameter = lambda s: max((distance(x[i], x[j]) for i in s for j in s if i < j), default=0)  # noqa: E731
    return x[list(min(itertools.combinations(range(len(x)), len(x) - f), key=diameter))].mean(axis=0)


def cge(x, f):
    return x[sorted(nearest_first([norm(v) for v in x])[: len(x) - f])].mean(axis=0)


def centered_clipping(x, f):
    v = median(x, f)
    distances = [math.sqrt(distance(a, v)) for a in x]
    tau = sorted(distances)[(len(x) - 1) // 2]
    pulls = [
        (a - v) * min(1, tau / r) if 0 < r < math.inf else np.zeros_like(v) for a, r in zip(x, distances, strict=True)
    ]
    return v + np.mean(pulls, axis=0)


def nearest_to_median(x, m):
    """Squared distances to the two middle values add up to twice those to their mean, and a constant."""
    low, high = np.sort(x, axis=0)[[(len(x) - 1) // 2, len(x) // 2]]
    keys = [distance(v, low) + distance(v, high) for v in x]
    return x[sorted(nearest_first(keys)[:m])].mean(axis=0)


def monna(x, f):
    return nearest_to_median(x, len(x) - f)


def aksel(x, f):
    return nearest_to_median(x, (len(x) + 1) // 2)


def top_eigenvalue(x):
    return np.linalg.norm(x - x.mean(axis=0), 2) ** 2 / len(x)


def smea(x, f):
    finite = np.flatnonzero(np.isfinite(x).all(axis=1))
    subsets = itertools.combinations(finite, len(x) - f)
    return x[list(min(subsets, key=lambda s: top_eigenvalue(x[list(s)])))].mean(axis=0)


def caf(x, f):
    n, x = len(x), x[np.isfinite(x).all(axis=1)]
    c, best, result = np.ones(len(x)), math.inf, x.mean(axis=0)
    while c.sum() > n - 2 * f:
        centre = (c[:, None] * x).sum(axis=0) / c.sum()
        values, vectors = np.linalg.eigh((c[:, None] * (x - centre)).T @ (x - centre) / c.sum())
        if values[-1] < best:
            best, result = values[-1], centre
        scores = ((x - centre) @ vectors[:, -1]) ** 2 * (c > 0)
        c = c * (1 - scores / scores.max())
    return result


def dnc(x, f):
    finite = np.flatnonzero(np.isfinite(x).all(axis=1))
    centred = x[finite] - x[finite].mean(axis=0)
    scores = np.full(len(x), math.inf)
    scores[finite] = (centred @ np.linalg.svd(centred)[2][0]) ** 2
    return x[sorted(nearest_first(list(-scores))[f:])].mean(axis=0)


def sign_majority(x, f):
    return np.array([np.sign(sum(np.sign(v) for v in column if not math.isnan(v))) for column in x.T])


def faba(x, f):
    left = sorted(range(len(x)), key=lambda i: not np.isfinite(x[i]).all())
    for _ in range(f):
        if np.isfinite(x[left[-1]]).all():
            centre = x[left].mean(axis=0)
            left.pop(max(range(len(left)), key=lambda i: distance(x[left[i]], centre)))
        else:
            left.pop()
    return x[left].mean(axis=0)


def bucketing(x, f):
    return np.stack([x[i : i + 2].mean(axis=0) for i in range(0, len(x), 2)])


def nnm(x, f):
    """A vector with a NaN or an infinity is nobody's neighbour, itself neither."""
    finite = [i for i in range(len(x)) if np.isfinite(x[i]).all()]
    mixed = []
    for v in x:
        near = sorted(finite, key=lambda i: (distance(v, x[i]), i))[: len(x) - f]
        mixed.append(x[near].mean(axis=0))
    return np.stack(mixed)


def clip(x, c):
    lengths = [norm(v) for v in x]
    scaled = lambda v, r: v if r <= c else np.zeros_like(v) if r == math.inf else v * (c / r)  # noqa: E731
    return np.stack([scaled(v, r) for v, r in zip(x, lengths, strict=True)])


def clipping(x, f):
    return clip(x, sorted(norm(v) for v in x)[(len(x) - 1) // 2])


def arc(x, f):
    k = math.floor(2 * (f / len(x)) * (len(x) - f))
    return clip(x, sorted(norm(v) for v in x)[len(x) - k - 1])


RULE_ORACLES = {
    "mean": mean,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "meamed": meamed,
    "phocas": phocas,
    "krum": krum,
    "multi_krum": multi_krum,
    "bulyan": bulyan,
    "geometric_median": geometric_median,
    "median_of_means": median_of_means,
    "mda": mda,
    "cge": cge,
    "centered_clipping": centered_clipping,
    "monna": monna,
    "smea": smea,
    "caf": caf,
    "dnc": dnc,
    "sign_majority": sign_majority,
    "aksel": aksel,
    "faba": faba,
}
PRE_ORACLES = {"bucketing": bucketing, "nnm": nnm, "clipping": clipping, "arc": arc}
ORACLES = RULE_ORACLES | PRE_ORACLES
