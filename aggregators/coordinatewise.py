"""Rules that look at one coordinate at a time."""

from detox.aggregators.arrays import Array
from detox.aggregators.rows import Rows
from detox.aggregators.rule import MAJORITY, NO_FAULTS, rule


@rule(NO_FAULTS, "", coordinatewise=True)
def mean(rows: Rows, f: int) -> Array:
    """Average of all vectors. Tolerates no Byzantine vector."""
    return rows.trimmed_mean(0)


@rule(MAJORITY, "Yin et al. 2018, arXiv 1803.01498", coordinatewise=True)
def median(rows: Rows, f: int) -> Array:
    """Coordinate-wise median; the mean of the middle two for even n."""
    return rows.median()


@rule(MAJORITY, "Yin et al. 2018, arXiv 1803.01498", coordinatewise=True)
def trimmed_mean(rows: Rows, f: int) -> Array:
    """Per coordinate the mean without the f greatest and the f least values."""
    return rows.trimmed_mean(f)


@rule(MAJORITY, "Xie, Koyejo and Gupta 2018, arXiv 1802.10116", coordinatewise=True)
def meamed(rows: Rows, f: int) -> Array:
    """Per coordinate the mean of the n - f values nearest the median; of two as near, the lower counts."""
    return rows.nearest_mean((rows.n - 1) // 2, rows.n - f)


@rule(MAJORITY, "Xie, Koyejo and Gupta 2018, arXiv 1805.09682", coordinatewise=True)
def phocas(rows: Rows, f: int) -> Array:
    """Per coordinate the mean of the n - f values nearest the trimmed mean; ties as in meamed."""
    return rows.nearest_mean(f, rows.n - f)


@rule(MAJORITY, "Bernstein et al. 2019, arXiv 1810.05291", coordinatewise=True)
def sign_majority(rows: Rows, f: int) -> Array:
    """Per coordinate the sign of the sum of signs, in {-1, 0, 1}; a tie gives 0, NaN has no sign."""
    return rows.sign_sum()
