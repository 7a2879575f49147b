"""The simulation without messages against real jobs."""

import pytest

from detox.config import ConfigError, config_from, read_toml
from detox.config.layers import flat, nested


@pytest.mark.parametrize(
    "options",
    [
        ("--r", "1", "--attack.kind", "alie", "--attack.knowledge", "omniscient", "--compute", "batched"),
        ("--attack.kind", "opt_ipm", "--attack.placement", "random", "--groups", "redrawn", "--secret-seed", "3"),
        ("--attack.kind", "label_flip", "--attack.placement", "worst", "--groups", "fixed"),
        ("--attack.kind", "label_flip", "--attack.placement", "fixed", "--worker-momentum", "0.5", "--r", "1",
         "--data.split", "similarity", "--data.similarity", "0.3", "--groups", "random"),
        ("--attack.kind", "sign_flip", "--attack.placement", "optimal", "--groups", "mols"),
        ("--attack.kind", "mimic", "--attack.scale", "2", "--data.split", "dirichlet", "--quarantine.policy", "never"),
    ],
)  # fmt: skip
def test_the_weights_are_those_of_a_real_run(here, script, options):
    simulate = script("experiments.simulation").simulate
    options = (*options, "--steps", "4", "--p", "9", "--share-compute", "--quarantine.policy", "never")
    job = here.start(*options, n=2)
    assert job.status == 0, job.text
    # What redraws has a secret seed, which the folder's config leaves out.
    fields = flat(read_toml(str(job.run / "config.toml"))) | ({"secret_seed": 3} if "3" in options else {})
    config = config_from(nested(fields), "run")
    assert simulate(config, config.create_task())["digest"] == job.summary["weights_digest"]


@pytest.mark.parametrize(
    "options",
    [
        {"vote": "tolerance"}, {"copies": "lazy"}, {"audit": {"ps": 1}}, {"on_tie": "recompute"}, {"patience": 3},
        {"quarantine": {"policy": "graph"}}, {"fault": {"worker": [1], "kind": ["silent"]}},
        {"optimizer": {"schedule": "ReduceLROnPlateau"}},
    ],
)  # fmt: skip
def test_what_takes_more_than_a_simulation_has_is_refused(script, options):
    ((field, value),) = options.items()
    words = f"{field}.{next(iter(value))}" if field in ("quarantine", "optimizer") else field
    config = config_from(
        {"p": 9, "q": 1, "attack": {"placement": "fixed"}, "quarantine": {"policy": "never"}} | options, "run"
    )
    with pytest.raises(ConfigError, match=words):
        script("experiments.simulation").check(config)
