"""The (n, d) votes as the rules see them: a few operations, here against the array API.

Everything that reads the votes is here (any array library) or in `kernels` (numba, float32 and bfloat16 on the
CPU); a rule is what happens between these operations, on arrays of the size of n.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detox.aggregators.arrays import Array, Floats, Index, on_host
from detox.aggregators.stored import Stored

FAR = 16.0
"""A point is among the vectors where its squared distance to one of them is at most this times that one's median
squared distance to the others."""
MOST_POINTS = 3
"""The first is 0; the next is as good as the norms' precision, the last as good as the distances'."""
TINY = 2.0**-600
"""Takes products of any float64 into its range."""
FAST_FROM = 1 << 16
"""Elements from which the kernels are worth the import of numba."""


@dataclass(frozen=True)
class Weighted:
    """A rule's result that is a weighted sum of the rows, not computed yet: weights (n,)."""

    weights: Floats


class Rows(Stored):
    """n vectors of dimension d, and what rules ask of them."""

    def gram(self, *extra: Array, precise: bool = False) -> Floats:
        """Inner products of all rows and the `extra` vectors about some point, (n + e, n + e), summed in float64.

        In each chunk of columns the point is near the vectors, so that distances that are small beside the norms
        keep their precision. Kernels may take products in float32, unless `precise`; then an error is some 1e-8 of
        the product of two vectors' distances to the point.
        """
        return self._total(self.gram_parts(*extra, precise=precise), (self.n + len(extra),) * 2)

    def gram_parts(self, *extra: Array, precise: bool = False) -> Iterable[Floats]:
        """What the columns that are here add to `gram`, by blocks or parts of blocks, in their order."""
        xp, e = self.xp, [self._vector(v) for v in extra]

        def products(start: int, stop: int) -> Floats:
            chunk = self._wide(self._chunk(start, stop))
            if e:
                chunk = xp.concat([chunk, *(self._wide(v[None, start:stop]) for v in e)])
            with np.errstate(all="ignore"):
                for _ in range(MOST_POINTS):
                    g = on_host(chunk @ chunk.T)
                    point, median = _central((g + g.T) / 2)
                    if g[point, point] <= FAR * median < np.inf:
                        break
                    if median == np.inf:  # perhaps only for the size of what they have in common
                        point, _ = _central(on_host((chunk * TINY) @ (chunk * TINY).T))
                    chunk = chunk - chunk[point, :]
                return (g + g.T) / 2  # a product of matrices need not be symmetric to the bit

        parts: Iterable[Floats] = self._chunks(products)
        return parts

    def squared_norms(self) -> Floats:
        """Squared norms, (n,), summed in float64."""
        return self._total(self.squared_norms_parts(), (self.n,))

    def squared_norms_parts(self) -> Iterable[Floats]:
        """What the columns that are here add to `squared_norms`, like `gram_parts`."""

        def norms(start: int, stop: int) -> Floats:
            with np.errstate(all="ignore"):
                return on_host(self.xp.sum(self._wide(self._chunk(start, stop)) ** 2, axis=1))

        parts: Iterable[Floats] = self._chunks(norms)
        return parts

    def combine(self, weights: Floats, *extra: Array) -> Array:
        """Sum of weights[i] times row i (then the `extra` vectors), (d,); a row of weight 0 is not read."""
        return self.mix(weights[None, :], *extra)[0, :]

    def mix(self, weights: Floats, *extra: Array) -> Array:
        """`combine` for each row of weights (m, n + e): a new (m, d) array."""
        xp, out = self.xp, self.empty(len(weights))
        parts = []
        for row in weights:
            used = np.flatnonzero(row)
            e = [self._vector(extra[i - self.n])[None, :] for i in used if i >= self.n]
            parts.append((xp.asarray(row[None, used], device=self.device), self.select(used[used < self.n]), e))

        def fill(start: int, stop: int) -> None:
            with np.errstate(all="ignore"):
                for r, (w, chosen, e) in enumerate(parts):
                    x = [self._wide(chosen._chunk(start, stop)), *(self._wide(v[:, start:stop]) for v in e)]
                    out[r, start:stop] = xp.astype((w @ xp.concat(x))[0, :], out.dtype)

        for _ in self._chunks(fill):
            pass
        return out

    def set_means(self, sets: Sequence[Index]) -> Array:
        """The mean of each set of rows, (m, d), where no row has a NaN or an infinity.

        Kernels take off and add what a set has less or more than most sets, in float32: a row of most sets must not
        be of another magnitude than the sets that lack it, which holds for sets of nearest neighbours.
        """
        weights, out = np.zeros((len(sets), self.n)), self.empty(len(sets))
        for row, chosen in zip(weights, sets, strict=True):
            row[chosen] = 1 / len(chosen)
        w = self.xp.asarray(weights, device=self.device)

        def fill(start: int, stop: int) -> None:
            out[:, start:stop] = self.xp.astype(w @ self._wide(self._chunk(start, stop)), out.dtype)

        for _ in self._chunks(fill):
            pass
        return out

    def trimmed_mean(self, trim: int) -> Array:
        """Per coordinate the mean without the `trim` least and greatest values, (d,).

        NaN counts as greater than all. With trim = (n - 1) // 2 this is the median.
        """
        return self._per_coordinate(lambda s: self._trimmed(s, trim))

    def nearest_mean(self, trim: int, keep: int) -> Array:
        """Per coordinate the mean of the `keep` values nearest the trimmed mean, (d,).

        Of two values equally near, the lower counts as nearer.
        """
        xp = self.xp

        def nearest(s: Array) -> Array:
            centre = self._trimmed(s, trim)
            s = self._wide(xp.where(xp.isnan(s), xp.asarray(xp.inf, dtype=s.dtype, device=self.device), s))
            drop = s.shape[0] - keep
            # The values kept are a window of the sorted ones. It moves up while the next value is nearer than
            # its lowest: value i gives way to value i + keep.
            for i in range(drop):
                nearer = s[i, :] / 2 + s[i + keep, :] / 2 < centre
                s[i + keep, :] = xp.where(nearer, s[i + keep, :], s[i, :])
            return self._mean(s[drop:, :])

        return self._per_coordinate(nearest)

    def sign_sum(self) -> Array:
        """Per coordinate the sign of the sum of signs, (d,); NaN has no sign."""
        xp = self.xp

        def sign(start: int, stop: int) -> Array:
            x = self._chunk(start, stop)
            total = xp.sum(xp.astype(x > 0, xp.int32) - xp.astype(x < 0, xp.int32), axis=0)
            return xp.astype(xp.sign(total), self.dtype)

        return xp.concat(list(self._chunks(sign)))

    def median(self) -> Array:
        """Coordinate-wise median, (d,)."""
        return self.trimmed_mean((self.n - 1) // 2)

    def middle(self) -> list[Array]:
        """Per coordinate the middle value, or the two middle ones where n is even: one or two vectors (d,)."""
        pair = self._per_coordinate(lambda s: s[[(self.n - 1) // 2, self.n // 2], :])
        return [pair[0, :], pair[1, :]][: 2 - self.n % 2]

    def squared_distances(self, others: Sequence[Array]) -> Floats:
        """Sum of squared distances to the others, (n,), in float64 from differences; infinite as in `gram`.

        Equal for vectors that differ from the others by the same numbers, whatever their order and sign.
        """
        vectors = [self._vector(v) for v in others]

        def squares(start: int, stop: int) -> Floats:
            chunk = self._wide(self._chunk(start, stop))
            with np.errstate(all="ignore"):
                each = [(chunk - self._wide(v[start:stop])) ** 2 for v in vectors]
                return on_host(self.xp.sum(sum(each[1:], each[0]), axis=1))

        total = self._total(self._chunks(squares), (self.n,))
        return np.where(np.isfinite(total), total, np.inf)

    def _sorted(self, x: Array) -> Array:
        """The values of each column in order, NaN last.

        By torch's own sort, rules gave other results on a GPU than on the CPU where bfloat16 had NaN: 11 rows, torch
        2.11, an H100.
        """
        xp, missing = self.xp, self.xp.isnan(x)
        if not xp.any(missing):
            return xp.sort(x, axis=0)
        inf, nan = (xp.asarray(value, dtype=x.dtype, device=self.device) for value in (xp.inf, xp.nan))
        present = self.n - xp.sum(xp.astype(missing, xp.int32), axis=0)
        beyond = xp.arange(self.n, device=self.device)[:, None] >= present[None, :]
        return xp.where(beyond, nan, xp.sort(xp.where(missing, inf, x), axis=0))

    def _trimmed(self, s: Array, trim: int) -> Array:
        return self._mean(s[trim : s.shape[0] - trim, :])

    def _mean(self, s: Array) -> Array:
        """Mean over the rows, in float64; their sum may be greater than any float64."""
        scale = 2.0 ** -s.shape[0].bit_length()
        return self.xp.sum(self._wide(s) * scale, axis=0) / (s.shape[0] * scale)

    def _per_coordinate(self, reduce: Any) -> Array:
        """reduce(sorted chunk) over the chunks, one behind the other, in the input's dtype."""
        xp = self.xp

        def reduced(start: int, stop: int) -> Array:
            with np.errstate(all="ignore"):
                return xp.astype(reduce(self._sorted(self._chunk(start, stop))), self.dtype)

        return xp.concat(list(self._chunks(reduced)), axis=-1)


def _central(g: Floats) -> tuple[int, float]:
    """The vector of least median squared distance to the others, and that median, from inner products (n, n)."""
    norms = np.diagonal(g)
    squares = norms[:, None] + norms[None, :] - 2 * g
    squares[~np.isfinite(squares)] = np.inf
    medians = np.partition(np.maximum(squares, 0), len(g) // 2, axis=1)[:, len(g) // 2]
    point = int(np.argmin(medians))
    return point, float(medians[point])
