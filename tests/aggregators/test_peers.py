"""Against byzfl with its conventions matched: n - f - 1 neighbours, m = n - f, odd n, enough iterations."""

import sys
from unittest.mock import MagicMock

import numpy as np
import pytest

from detox.aggregators import PREAGGREGATORS, RULES

# byzfl imports these at its top, for its own experiments; its rules need neither.
for _unneeded in ("seaborn", "torchvision"):
    sys.modules.setdefault(_unneeded, MagicMock())
byzfl = pytest.importorskip("byzfl", reason="byzfl is not installed (pip install --no-deps byzfl==0.0.11)")

N, F = 13, 3
PEERS = {
    "mean": (byzfl.Average(), {}),
    "median": (byzfl.Median(), {}),
    "trimmed_mean": (byzfl.TrMean(f=F), {}),
    "meamed": (byzfl.Meamed(f=F), {}),
    "krum": (byzfl.Krum(f=F), {"neighbours": N - F - 1}),
    "multi_krum": (byzfl.MultiKrum(f=F), {"neighbours": N - F - 1, "m": N - F}),
    "geometric_median": (byzfl.GeometricMedian(nu=1e-9, T=2000), {}),
    "mda": (byzfl.MDA(f=F), {}),
}
PRE_PEERS = {
    "nnm": (byzfl.NNM(f=F), {}),
    "clipping": (byzfl.Clipping(c=2.0), {"c": 2.0}),
    "arc": (byzfl.ARC(f=F), {}),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", PEERS | PRE_PEERS)
def test_byzfl_gives_the_same(name, seed):
    x = np.random.default_rng(seed).normal(size=(N, 31)) + 0.3
    x[:F] *= -3
    peer, options = (PEERS | PRE_PEERS)[name]
    stage = (RULES | PREAGGREGATORS)[name]
    result = stage(x, f=0 if name == "mean" else F, **options)
    np.testing.assert_allclose(result, peer(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_byzfl_gives_the_same_with_a_reference_vector(seed):
    x = np.random.default_rng(seed).normal(size=(N, 31))
    result = RULES["centered_clipping"](x, f=F, previous=np.zeros(31), tau=3.0, iterations=4)
    np.testing.assert_allclose(result, byzfl.CenteredClipping(L=4, tau=3.0)(x), rtol=1e-6)
    np.testing.assert_allclose(RULES["monna"](x, f=F, trusted=x[2]), byzfl.MoNNA(f=F, idx=2)(x), rtol=1e-6)
