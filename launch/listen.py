"""`detox-ps serve`: the parameter server of a run whose workers come by `detox-ps join`, without mpirun."""

import os
from argparse import ArgumentParser
from pathlib import Path

from detox.config import Config, ConfigError
from detox.config.address import EVERYWHERE, parse_address
from detox.config.over_tcp import not_over_tcp
from detox.launch import failure
from detox.launch.environment import fix_torch
from detox.launch.train import end_with_threads, parse
from detox.wire import Session, keys
from detox.wire.listener import Listener
from detox.wire.tcp import Channel

PS = 0


def serve(argv: list[str]) -> int:
    """Serves the run to its end; returns its exit status."""
    from detox.launch.attended import serve_on

    options, rest = parser().parse_known_args(argv)
    config, _ = parse(rest)
    check(config)
    address = to_listen_on(options.listen, options.as_root)
    own = keys.Keys(options.keys / keys.PS if (options.keys / keys.PS).is_dir() else options.keys)
    if own.rank != PS:
        raise ConfigError(
            f"--keys {options.keys}: that is the key of worker {own.rank - 1}, not of the parameter server"
        )
    if (workers := len(own.peers) - 1) != config.p:
        raise ConfigError(f"p = {config.p}, but {options.keys} has keys of {workers} workers: detox-ps keys -p")
    end_with_threads()
    fix_torch()
    listener = Listener(address, own)
    channel = Channel(listener, range(1, config.p + 1))
    print(f"listens on {address[0]}:{listener.port}, key {own.fingerprint}", flush=True)
    status = failure.FAILURE
    try:
        status, _ = serve_on(channel, own, Session(channel, sleep=channel.wait), rest)
    finally:
        channel.close()
    return status


def to_listen_on(listen: str, as_root: bool) -> tuple[str, int]:
    """The host and port of a --listen; raises ConfigError where it is none, or what root should not do unasked."""
    address = parse_address("--listen", listen)
    if address[0] in EVERYWHERE and hasattr(os, "geteuid") and os.geteuid() == 0 and not as_root:
        raise ConfigError(
            f"--listen {listen}: as root, on all addresses of this host: name one of them, run it as another user, or "
            "say --as-root"
        )
    return address


def check(config: Config) -> None:
    """Raises ConfigError where a config takes what only mpirun gives."""
    if config.workers_per_rank not in (None, 1):
        raise ConfigError("workers_per_rank: each worker has a key and a process of its own here; leave it out")
    if config.servers > 1:
        raise ConfigError(f"servers = {config.servers}: workers that come by themselves reach one; leave it out")
    if why := not_over_tcp(config):
        raise ConfigError(why)


def parser() -> ArgumentParser:
    """The command line but for the fields of the config."""
    line = ArgumentParser(
        "detox-ps serve",
        allow_abbrev=False,
        description="Serves a run to workers that come by detox-ps join, each with a key of its own, and trains; "
        "whatever is not an option here is as for detox-ps train (see detox-ps train --help).",
    )
    line.add_argument("--listen", required=True, metavar="HOST:PORT", help="the address that workers dial; port 0: any")
    line.add_argument("--keys", type=Path, default=Path("keys"), metavar="FOLDER", help="made by detox-ps keys")
    add_as_root(line)
    return line


def add_as_root(line: ArgumentParser) -> None:
    """Adds the option that `to_listen_on` asks for."""
    line.add_argument("--as-root", action="store_true", help="listen on all addresses though this is root")
