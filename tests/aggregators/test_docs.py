"""The pages on aggregators say what the code says, and their examples run."""

import re
from pathlib import Path

import numpy as np
import pytest

from detox.aggregators import PAIRS, PREAGGREGATORS, RULES

README = Path(__file__).parents[2] / "README.md"
PAGE = Path(__file__).parents[2] / "docs" / "aggregators.md"
TUTORIAL = PAGE.with_name("aggregators-tutorial.md")


def table(stages):
    lines = ["| name | what it gives | needs | options | source |", "|---|---|---|---|---|"]
    for name, stage in stages.items():
        options = ", ".join(sorted(stage.options))
        lines.append(f"| `{name}` | {stage.summary} | {stage.condition.text} | {options} | {stage.source} |")
    return "\n".join(lines)


def test_tables_list_every_rule_with_its_condition_options_and_source():
    page = PAGE.read_text()
    for stages in (RULES, PREAGGREGATORS):
        assert table(stages) in page, f"docs/aggregators.md should have:\n\n{table(stages)}"


def test_pairs_are_named():
    page = PAGE.read_text()
    assert all(f"`{name}`" in page for name in PAIRS)


@pytest.mark.parametrize("page", [TUTORIAL, README], ids=lambda page: page.name)
def test_examples_run(page):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    ours = blocks if page == TUTORIAL else [block for block in blocks if "from detox.aggregators import" in block]
    assert ours
    for example in ours:
        names = {"gradients": np.random.default_rng(0).normal(size=(15, 30)).astype(np.float32)}
        exec(compile(example, page.name, "exec"), names)
