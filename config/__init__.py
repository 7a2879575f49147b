"""A run's config: its fields (schema), what follows from them (derived), what they rule out together (checks), and how
it is read (reading).

The sections are in `training`, `defences`, `threats` and `messages`. They create the components that they describe,
such as CompressionConfig.create the codec.
"""

from detox.config.checks import can_run, check, check_sizes
from detox.config.derived import Config
from detox.config.fields import ConfigError
from detox.config.reading import config_from, config_of, override, read_config, read_toml
from detox.config.secret import known_secret, secret_seed

__all__ = [
    "Config",
    "ConfigError",
    "can_run",
    "check",
    "check_sizes",
    "config_from",
    "config_of",
    "known_secret",
    "override",
    "read_config",
    "read_toml",
    "secret_seed",
]
