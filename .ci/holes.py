"""Are there known holes in what is installed here? By safety-db, records that come as a package, without a network.

They end in July 2021: what is found is a hole, and what is not found says nothing of holes that became known later.
"""

import json
import sys
from importlib.metadata import distribution, distributions
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name


def holes(installed: dict[str, str], known: dict[str, list[str]]) -> list[str]:
    """The packages with a known hole, as name and version."""
    ranges = {canonicalize_name(name): specifiers for name, specifiers in known.items() if not name.startswith("$")}
    return [
        f"{name} {version}"
        for name, version in sorted(installed.items())
        if any(SpecifierSet(which).contains(version, prereleases=True) for which in ranges.get(name, ()))
    ]


if __name__ == "__main__":
    known = json.loads(Path(str(distribution("safety-db").locate_file("safety_db/insecure.json"))).read_text())
    installed = {canonicalize_name(found.metadata["Name"]): found.version for found in distributions()}
    assert holes({"pyyaml": "5.1"}, known) == ["pyyaml 5.1"]
    if found := holes(installed, known):
        sys.exit(f"known holes in {', '.join(found)}")
    print(f"{len(installed)} packages, none with a hole that was known in July 2021")
