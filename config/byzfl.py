"""The names of byzfl 0.0.11's benchmark (Gonzalez et al. 2025, arXiv 2505.24802) and what they are here."""

from collections.abc import Callable
from typing import Any

from detox.config.fields import ConfigError
from detox.errors.words import nearest

Fields = dict[str, Any]

DATASETS = {"mnist": "mnist", "fashionmnist": "fashion-mnist", "cifar10": "cifar10", "cifar100": "cifar100"}
MODELS = {"fc_mnist": "fc_mnist", "cnn_mnist": "cnn_mnist"}
RULES: dict[str, str] = {
    "Average": "mean",
    "Median": "median",
    "TrMean": "trimmed_mean",
    "GeometricMedian": "geometric_median",
    "Krum": "krum",
    "MultiKrum": "multi_krum",
    "MDA": "mda",
    "Meamed": "meamed",
    "CenteredClipping": "centered_clipping",
}
PREAGGREGATORS: dict[str, str] = {"Clipping": "clipping", "NNM": "nnm", "ARC": "arc", "Bucketing": "bucketing"}
ATTACKS: dict[str, tuple[str, Callable[[Fields], float | None]]] = {
    "SignFlipping": ("ipm", lambda given: 1.0),  # minus the mean of the honest
    "InnerProductManipulation": ("ipm", lambda given: given.get("tau", 2.0)),
    "ALittleIsEnough": ("alie", lambda given: given.get("tau", 1.5)),
    "Optimal_InnerProductManipulation": ("opt_ipm", lambda given: None),
    "Optimal_ALittleIsEnough": ("opt_alie", lambda given: None),
    "LabelFlipping": ("label_flip", lambda given: None),
    "Inf": ("inf", lambda given: None),
}
"""The attack, and its scale from byzfl's parameters; None: the default."""
SPLITS = {
    "iid": "iid", "gamma_similarity_niid": "similarity", "dirichlet_niid": "dirichlet", "extreme_niid": "label",
}  # fmt: skip


def known(name: str, names: dict[str, Any], what: str) -> Any:
    """What a name of byzfl's is here.

    Raises:
        ConfigError: there is nothing of that kind.
    """
    if name not in names:
        raise ConfigError(f"{what} {name!r} has no equal here{nearest(name, list(names))}; known: {', '.join(names)}")
    return names[name]


def options_of_rule(name: str, given: Fields, n: int, f: int) -> Fields:
    """Options by which a rule here is byzfl's, of n vectors: it counts more neighbours, and averages more vectors."""
    if name in ("Krum", "MultiKrum"):
        return {"neighbours": n - f - 1, **({"m": n - f} if name == "MultiKrum" else {})}
    if name == "CenteredClipping":
        return {"tau": given.get("tau", 100.0), "iterations": given.get("L", 1)}
    return {}


def options_of_preaggregator(name: str, given: Fields) -> Fields:
    """Likewise; byzfl's defaults."""
    return {"Clipping": {"c": given.get("c", 2.0)}, "Bucketing": {"s": given.get("s", 1)}}.get(name, {})
