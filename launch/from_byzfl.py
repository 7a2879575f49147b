"""`detox-ps sweep --from-byzfl config.json`: the runs of a grid of byzfl's benchmark, as configs."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detox.config import Config, ConfigError, config_from
from detox.config.byzfl import (
    ATTACKS,
    DATASETS,
    MODELS,
    PREAGGREGATORS,
    RULES,
    SPLITS,
    known,
    options_of_preaggregator,
    options_of_rule,
)
from detox.config.layers import nested

_WHOLE = ("pre_aggregators", "milestones")  # lists that are one value, unless they hold lists
_DEFAULTS: dict[str, Any] = {
    "nb_honest_clients": 10, "set_honest_clients_as_clients": False, "training_seed": 0, "nb_training_seeds": 1,
    "data_distribution_seed": 0, "nb_data_distribution_seeds": 1, "size_train_set": 0.8,
}  # fmt: skip


def byzfl_configs(path: str, r: int = 1) -> tuple[list[Config], list[str]]:
    """The configs of the grid in byzfl's file, and a sentence for each cell that is left out.

    Args:
        path: of the JSON.
        r: holders of a file. With more than one, p = 10 honest and f Byzantine workers may make no groups of it, or
            too few votes for the rule: those cells are left out.

    Raises:
        ConfigError: the file cannot be read, or asks for what there is not here.
    """
    try:
        grid = json.loads(Path(path).read_text(encoding="utf-8"))
        grid["benchmark_config"] = _DEFAULTS | grid["benchmark_config"]
        cells = list(_combinations(grid))
        found = [fields for cell in cells for fields in _runs(cell, r)]
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: not byzfl's JSON: {error}") from None
    except KeyError as error:
        raise ConfigError(f"{path}: {error.args[0]} is missing") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    configs: dict[Path, Config] = {}
    left_out = []
    for fields in found:
        where = f"{path}: {fields['name']}, f = {fields['q']}, r = {r}"
        try:
            config = config_from(nested({**fields, "output": str(Path("runs") / Path(path).stem)}), where)
        except ConfigError as error:
            if r == 1:
                raise
            left_out.append(str(error))
        else:
            configs[config.folder] = config
    return list(configs.values()), list(dict.fromkeys(left_out))


def _combinations(value: Any, key: str = "") -> Iterator[Any]:
    """Every choice of one item of each list, as byzfl's generate_all_combinations has it."""
    if isinstance(value, dict):
        parts = [list(_combinations(inner, name)) for name, inner in value.items()]
        yield from (dict(zip(value, chosen, strict=True)) for chosen in itertools.product(*parts))
    elif isinstance(value, list) and value and not (key in _WHOLE and not isinstance(value[0], list)):
        for item in value:
            yield from _combinations(item) if isinstance(item, dict) else [item]
    else:
        yield value


def _runs(cell: dict[str, Any], r: int) -> Iterator[dict[str, Any]]:
    """The fields of the runs of a cell, one a seed; none where byzfl has none."""
    benchmark, model, honest = cell["benchmark_config"], cell["model"], cell["honest_clients"]
    f = benchmark["f"]
    if (tolerated := benchmark.get("tolerated_f", f)) < f:
        return
    if (algorithm := benchmark.get("training_algorithm", {}).get("name", "DSGD")) != "DSGD":
        raise ConfigError(f"training_algorithm {algorithm}: workers send gradients here, DSGD")
    if benchmark["nb_data_distribution_seeds"] != 1:
        raise ConfigError("nb_data_distribution_seeds: a run's seed is that of its data too; give 1")
    p = benchmark["nb_honest_clients"] + (0 if benchmark["set_honest_clients_as_clients"] else f)
    rule, attack = cell["aggregator"], cell["attack"]
    pre = cell.get("pre_aggregators", [])
    here = known(rule["name"], RULES, "aggregator")
    options = {here: options_of_rule(rule["name"], rule.get("parameters", {}), p // r, tolerated if r == 1 else 0)}
    for one in pre:
        name = known(one["name"], PREAGGREGATORS, "pre-aggregator")
        options[name] = options_of_preaggregator(one["name"], one.get("parameters", {}))
    if r > 1 and rule["name"] in ("Krum", "MultiKrum"):
        options[here] = {}  # of votes; as many neighbours as the paper has
    distribution = benchmark["data_distribution"]
    fields: dict[str, Any] = {
        "name": "-".join([rule["name"], *(one["name"] for one in pre), attack["name"]]),
        "task": known(model["dataset_name"], DATASETS, "dataset_name"),
        "model": known(model["name"], MODELS, "model"),
        "p": p, "q": f, "r": r, "groups": "random", "batch_size": honest["batch_size"],
        "steps": benchmark["nb_steps"], "eval_every": cell["evaluation_and_results"]["evaluation_delta"],
        "worker_momentum": honest["momentum"], "share_compute": True, "quarantine.policy": "never",
        "optimizer.lr": model["learning_rate"], "optimizer.weight_decay": honest["weight_decay"],
        "data.split": known(distribution["name"], SPLITS, "data_distribution"),
        "aggregator.name": here, "aggregator.pre": [PREAGGREGATORS[one["name"]] for one in pre],
        "aggregator.options": {name: given for name, given in options.items() if given},
        "attack.placement": "fixed", "attack.knowledge": "omniscient",
    }  # fmt: skip
    if parameter := {"similarity": "data.similarity", "dirichlet": "data.alpha"}.get(fields["data.split"]):
        fields[parameter] = distribution["distribution_parameter"]
    if model.get("milestones"):
        fields |= {"optimizer.schedule": "step", "optimizer.milestones": model["milestones"]}
        fields |= {"optimizer.gamma": model["learning_rate_decay"]}
    if here == "mean":
        fields["aggregator.f"] = 0
    elif tolerated != f and r == 1:
        fields["aggregator.f"] = tolerated
    if attack["name"] == "NoAttack":
        fields |= {"p": benchmark["nb_honest_clients"], "q": 0}
    else:
        kind, scale = known(attack["name"], ATTACKS, "attack")
        fields["attack.kind"] = kind
        if (given := scale(attack.get("parameters", {}))) is not None:
            fields["attack.scale"] = given
    for seed in range(benchmark["training_seed"], benchmark["training_seed"] + benchmark["nb_training_seeds"]):
        yield {**fields, "seed": seed, "attack.seed": seed, "secret_seed": seed}
