"""`detox-ps keys`: a key for the parameter server and for each worker."""

from argparse import ArgumentParser
from pathlib import Path

from detox.config import ConfigError
from detox.wire import keys as made


def keys(argv: list[str]) -> int:
    """Makes the keys, and prints their fingerprints; returns 0."""
    options = parser().parse_args(argv)
    if options.p < 1:
        raise ConfigError(f"-p {options.p}: give 1 or more")
    for name, fingerprint in made.make(options.folder, range(options.p)).items():
        print(f"{fingerprint}  {options.folder / name}")
    print(
        f"Copy each worker's folder to its machine, and remove it here. {options.folder / made.PS} stays with the "
        "parameter server. Whoever has a folder can speak for its owner."
    )
    return 0


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser(
        "detox-ps keys",
        allow_abbrev=False,
        description="Makes a folder for the parameter server and one for each worker: key.pem is its secret, peers.pem "
        "has the certificates of those that it talks to. Prints the SHA-256 of each certificate.",
    )
    line.add_argument("-p", type=int, required=True, help="workers")
    line.add_argument("folder", type=Path, metavar="FOLDER", help="a new one")
    return line
