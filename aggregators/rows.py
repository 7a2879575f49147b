"""The (n, d) votes as the rules see them: a few operations, here against the array API.

Everything that reads the votes is here (any array library) or in `kernels` (numba, float32 and bfloat16 on the
CPU); a rule is what happens between these operations, on arrays of the size of n.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import array_api_compat
import numpy as np
import numpy.typing as npt

from detox.aggregators.chunks import over_chunks
from detox.aggregators.errors import AggregatorError

Array: TypeAlias = Any
"""A numpy array or a torch tensor."""
Floats: TypeAlias = npt.NDArray[np.float64]
Index: TypeAlias = npt.NDArray[np.intp]

CHUNK = 1 << 22
"""Elements that an operation copies at a time."""
SLAB = 1 << 18
"""Columns of a slab: its results stay in the cache until they are used."""
NARROWEST = 16
"""Columns that the kernels need at least."""
DTYPES = ("float16", "bfloat16", "float32", "float64")
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


class Rows:
    """n vectors of dimension d that are read, never changed.

    Args:
        x: (rows, d), floating.
        threads: size of the pool that goes over chunks of columns.
        index: (n,), which rows of x, in this order; all unless given.
    """

    def __init__(self, x: Array, threads: int = 1, index: Index | None = None) -> None:
        self.x = x
        self.xp = array_api_compat.array_namespace(x)
        self.device = array_api_compat.device(x)
        self.dtype = x.dtype if array_api_compat.is_torch_array(x) else x.dtype.newbyteorder("=")
        self.threads = threads
        self.index = np.arange(len(x)) if index is None else index
        self.n, self.d = len(self.index), x.shape[1]
        self._at = self.xp.asarray(self.index, device=self.device)
        self._whole = np.array_equal(self.index, np.arange(len(x)))

    def select(self, index: Index) -> Self:
        """These of the rows, in this order; nothing is copied."""
        return type(self)(self.x, self.threads, self.index[index])

    def columnwise(self, work: Callable[["Rows"], Array]) -> Array:
        """The vector (d,) that `work` returns, a slab of columns at a time: for what looks at single columns."""
        out = self.empty(1)[0, :]

        def fill(start: int, stop: int) -> None:
            start = max(0, min(start, stop - NARROWEST))
            out[start:stop] = work(type(self)(self.x[:, start:stop], 1, self.index))

        for _ in over_chunks(fill, self.d, SLAB, self.threads):
            pass
        return out

    def empty(self, n: int) -> Array:
        """A new (n, d) array of the votes' library, dtype (in native byte order) and device."""
        return self.xp.empty((n, self.d), dtype=self.dtype, device=self.device)

    def reference(self, name: str, v: Array) -> Array:
        """A vector (d,) that the caller gives; `AggregatorError` unless it is finite, as the votes' dtype too."""
        v = self._vector(v, name)
        with np.errstate(over="ignore"):
            if not self.xp.all(self.xp.isfinite(self.xp.astype(v, self.dtype))):
                raise AggregatorError(f"{name} must be a vector without NaN or infinity")
        return v

    def vector(self, v: Floats) -> Array:
        """A vector (d,) from the host as one of the votes' library, dtype and device."""
        return self.xp.astype(self.xp.asarray(v, device=self.device), self.dtype)

    def like(self, x: Array) -> Self:
        """Another array of the same library, dtype and number of columns."""
        return type(self)(x, self.threads)

    def gram(self, *extra: Array, precise: bool = False) -> Floats:
        """Inner products of all rows and the `extra` vectors about some point, (n + e, n + e), summed in float64.

        In each chunk of columns the point is near the vectors, so that distances that are small beside the norms
        keep their precision. Kernels may take products in float32, unless `precise`; then an error is some 1e-8 of
        the product of two vectors' distances to the point.
        """
        xp, e = self.xp, [self._vector(v) for v in extra]

        def products(start: int, stop: int) -> Floats:
            chunk = self._wide(self._chunk(start, stop))
            if e:
                chunk = xp.concat([chunk, *(self._wide(v[None, start:stop]) for v in e)])
            with np.errstate(all="ignore"):
                for _ in range(MOST_POINTS):
                    g = _numpy(chunk @ chunk.T)
                    point, median = _central((g + g.T) / 2)
                    if g[point, point] <= FAR * median < np.inf:
                        break
                    if median == np.inf:  # perhaps only for the size of what they have in common
                        point, _ = _central(_numpy((chunk * TINY) @ (chunk * TINY).T))
                    chunk = chunk - chunk[point, :]
                return (g + g.T) / 2  # a product of matrices need not be symmetric to the bit

        return sum(self._chunks(products), np.zeros((self.n + len(e),) * 2))

    def squared_norms(self) -> Floats:
        """Squared norms, (n,), summed in float64."""
        with np.errstate(all="ignore"):
            return sum(
                self._chunks(
                    lambda start, stop: _numpy(self.xp.sum(self._wide(self._chunk(start, stop)) ** 2, axis=1))
                ),
                np.zeros(self.n),
            )

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

    def columns(self, index: Index) -> Floats:
        """The columns of that index, (n, len(index)), as float64 on the host."""
        xp = self.xp
        at = xp.asarray(index, device=self.device)
        return _numpy(self._wide(xp.take(xp.take(self.x, at, axis=1), self._at, axis=0)))

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
                return _numpy(self.xp.sum(sum(each[1:], each[0]), axis=1))

        total = sum(self._chunks(squares), np.zeros(self.n))
        return np.where(np.isfinite(total), total, np.inf)

    def _trimmed(self, s: Array, trim: int) -> Array:
        return self._mean(s[trim : s.shape[0] - trim, :])

    def _mean(self, s: Array) -> Array:
        """Mean over the rows, in float64; their sum may be greater than any float64."""
        scale = 2.0 ** -s.shape[0].bit_length()
        return self.xp.sum(self._wide(s) * scale, axis=0) / (s.shape[0] * scale)

    def _per_coordinate(self, reduce: Any) -> Array:
        """Concatenate reduce(sorted chunk) over the chunks, in the input's dtype."""
        xp = self.xp

        def reduced(start: int, stop: int) -> Array:
            with np.errstate(all="ignore"):
                return xp.astype(reduce(xp.sort(self._chunk(start, stop), axis=0)), self.dtype)

        return xp.concat(list(self._chunks(reduced)))

    def _chunk(self, start: int, stop: int) -> Array:
        part = self.x[:, start:stop]
        return part if self._whole else self.xp.take(part, self._at, axis=0)

    def _chunks(self, work: Any) -> Any:
        return over_chunks(work, self.d, max(1, CHUNK // self.n), self.threads)

    def _wide(self, x: Array) -> Array:
        return self.xp.astype(x, self.xp.float64)

    def _vector(self, v: Array, name: str = "a vector") -> Array:
        v = served(v, name)
        if v.shape != (self.d,):
            raise AggregatorError(f"{name}: a reference vector must have shape ({self.d},), got {tuple(v.shape)}")
        if array_api_compat.is_torch_array(self.x):
            # A copy, for torch takes neither another byte order nor what must not be written.
            v = v if array_api_compat.is_torch_array(v) else v.astype(v.dtype.newbyteorder("="))
            return self.xp.asarray(v, device=self.device)
        return _numpy(v) if array_api_compat.is_torch_array(v) else v


def served(x: Array, name: str) -> Array:
    """The array or tensor as it can be read: without a graph, a lazy sign or a subclass of its own.

    Raises:
        AggregatorError: it is something else, or its dtype, layout or device cannot be served.
    """
    tensor = array_api_compat.is_torch_array(x)
    if isinstance(x, np.ma.MaskedArray) or not (tensor or isinstance(x, np.ndarray)):
        raise AggregatorError(f"{name} must be a numpy array or a torch tensor, got {type(x).__name__}")
    dtype = str(x.dtype).removeprefix("torch.") if tensor else x.dtype.name
    if dtype not in DTYPES:
        raise AggregatorError(f"{name} must be of a floating dtype, got {dtype} (served: {', '.join(DTYPES)})")
    if not tensor:
        return np.asarray(x)
    if x.device.type == "meta":
        raise AggregatorError(f"{name} must have values, got a tensor on the device meta")
    if str(x.layout) != "torch.strided":
        raise AggregatorError(f"{name} must be dense, got a tensor of layout {x.layout}")
    return x.detach().resolve_neg()


def _central(g: Floats) -> tuple[int, float]:
    """The vector of least median squared distance to the others, and that median, from inner products (n, n)."""
    norms = np.diagonal(g)
    squares = norms[:, None] + norms[None, :] - 2 * g
    squares[~np.isfinite(squares)] = np.inf
    medians = np.partition(np.maximum(squares, 0), len(g) // 2, axis=1)[:, len(g) // 2]
    point = int(np.argmin(medians))
    return point, float(medians[point])


def _numpy(x: Array) -> Floats:
    """The array on the host, float64."""
    host = x.cpu().double().numpy() if array_api_compat.is_torch_array(x) else x
    return np.asarray(host, np.float64)
