"""The chart of `detox-ps plan`: tails of the bad votes by r, and failures by q."""

from dataclasses import replace
from typing import TYPE_CHECKING

from detox.assignment.theory import enough_redundancy, tail, tail_bound, tail_bound_holds
from detox.reports.figures import figure_of
from detox.reports.forecast import Forecast, Setting
from detox.reports.looks import spelled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EFFORT_OF_ALL = 1e12  # of the exact counts of a chart, see detox.assignment.theory.effort


def chart(setting: Setting, forecasts: list[Forecast]) -> "Figure":
    """Left the tail of the bad votes for each r that divides p; right failures over q, at this r.

    Where these take too long to count, some are left out.
    """
    figure, axes = figure_of(1, 2, 12, 4.5)
    tails, failures = axes[0]
    bounded = []
    for r in (r for r in range(1, setting.p // 2 + 1, 2) if setting.p % r == 0):
        at = replace(setting, r=r)
        if at.effort > _EFFORT_OF_ALL / 10:
            continue
        shares = [float(share) for share in tail(at.distribution)[: at.worst + 1]]
        tails.plot(range(len(shares)), shares, "o-", markersize=4, label=f"r = {r}" + " (this)" * (r == setting.r))
        if enough_redundancy(setting.q, r) and r > 1 and tail_bound_holds(at.distribution):
            bounded.append(r)
    if bounded:
        bound = [tail_bound(k) for k in range(setting.q + 1)]
        tails.plot(range(len(bound)), bound, "k:", label=f"the paper's bound, from r = {bounded[0]} on")
    tails.set(xlabel="k bad votes", ylabel="probability of k or more, per step", yscale="log", ylim=(1e-9, 2))
    tails.set_title(f"p = {setting.p}, q = {setting.q}")
    last = max(setting.p // 2, setting.q)
    points = min(last, max(4, int(_EFFORT_OF_ALL / (1 + replace(setting, q=last).effort))), 200)
    settings = [replace(setting, q=last * point // max(points, 1)) for point in range(points + 1)]
    for number, one in enumerate(forecasts):
        if one.tolerates >= 0:
            chances = [at.failure(one.tolerates) for at in settings]
            label = f"{spelled(one.name)}: tolerates {one.tolerates}"
            failures.plot([at.q for at in settings], chances, ("-", "--", ":")[number % 3], label=label)
    failures.set(xlabel="q Byzantine workers")
    if any(chance > 0 for line in failures.lines for chance in line.get_ydata()):
        failures.set(yscale="log", ylim=(1e-9, 2))
    failures.axvline(setting.q, color="grey", linewidth=0.8)
    failures.set_ylabel("probability of failure, " + (f"{setting.steps} steps" if setting.steps > 1 else "per step"))
    failures.set_title(f"p = {setting.p}, r = {setting.r}")
    for one in (tails, failures):
        one.xaxis.get_major_locator().set_params(integer=True)
        one.grid(alpha=0.3)
        if one.get_legend_handles_labels()[0]:
            one.legend(fontsize=9)
    return figure
