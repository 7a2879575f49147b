"""How methods look and are spelled in pictures: a colour a rule, solid with DETOX, dashed without, pairs together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axis import Axis

COLOURS = {
    "median": "#0072b2",
    "multi_krum": "#d55e00",
    "bulyan": "#009e73",
    "geometric_median": "#cc79a7",
    "sign_majority": "#e69f00",
    "krum": "#8c564b",
    "trimmed_mean": "#56b4e9",
    "centered_clipping": "#7f3fbf",
    "mean": "#555555",
}
"""By rule, in the order of legends and tables; the first eight can be told apart by the colour-blind (Okabe, Ito)."""

SPELLINGS = {
    "mean": "mean",
    "median": "median",
    "trimmed_mean": "trimmed mean",
    "krum": "Krum",
    "multi_krum": "Multi-Krum",
    "bulyan": "Bulyan",
    "geometric_median": "geometric median",
    "sign_majority": "signSGD",
    "signsgd": "signSGD",
    "centered_clipping": "centered clipping",
    "nnm": "NNM",
    "d_median": "D-Med",
    "d_multi_krum": "D-Multi-Krum",
    "d_bulyan": "D-Bulyan",
    "d_signsgd": "D-signSGD",
    "draco": "DRACO",
    "detox": "DETOX",
}
"""By name in a config, hyphens as underscores: what prose and pictures call it."""


def spelled(label: str) -> str:
    """A label of which the parts between commas that name a method are spelled as in prose."""
    return ", ".join(SPELLINGS.get(part.replace("-", "_"), part) for part in label.split(", "))


@dataclass(frozen=True)
class Look:
    """What a method looks like.

    Attributes:
        rule: whose colour it has, a name of RULES; others have one by their place.
        detox: whether gradients have several copies.
    """

    rule: str
    detox: bool

    @classmethod
    def of(cls, aggregator: str, r: int, pre: Sequence[str] = ()) -> "Look":
        """From the name of a rule or of a pair, its redundancy, and its pre-aggregators."""
        rule = aggregator.removeprefix("d-").replace("-", "_").replace("signsgd", "sign_majority")
        return cls("+".join((*pre, rule)).replace("draco", "mean"), r > 1)

    @property
    def order(self) -> tuple[int, bool]:
        """Where it stands: pairs side by side, DETOX first."""
        known = list(COLOURS)
        return known.index(self.rule) if self.rule in COLOURS else len(known), not self.detox


def lines(looks: Sequence[Look]) -> list[dict[str, Any]]:
    """Colour, line and marker of each, for matplotlib; by place where two look the same, or a rule has no colour."""
    if len(set(looks)) < len(looks) or any(look.rule not in COLOURS for look in looks):
        styles = ("-", "--", ":")
        return [
            {"color": f"C{at % 10}", "linestyle": styles[at // 10 % len(styles)], "marker": "o"}
            for at in range(len(looks))
        ]
    return [
        {"color": COLOURS[look.rule], "linestyle": "-" if look.detox else "--", "marker": "o" if look.detox else "s"}
        for look in looks
    ]


def plain(value: float, _place: int = 0) -> str:
    """A tick as a plain number; below a thousandth with a power of ten."""
    if value and abs(value) < 1e-3:
        mantissa, power = f"{value:.2e}".split("e")
        times = "" if float(mantissa) == 1 else f"{float(mantissa):g} \\cdot "
        return f"${times}10^{{{int(power)}}}$"
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.3g}"


def plain_ticks(axis: "Axis") -> None:
    """Plain numbers on a logarithmic axis whose limits are set: 1, 2, 5 where it spans little, powers of ten else."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    short = high < 100 * low
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if short else (1,), numticks=20))
    axis.set_major_formatter(FuncFormatter(plain))
    axis.set_minor_formatter(NullFormatter())
