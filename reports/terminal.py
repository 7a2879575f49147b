"""Tables on the terminal."""

from rich.console import Console


def printer() -> Console:
    """The console of tables. It is wider than any: a narrow terminal wraps lines, where rich would cut numbers off."""
    return Console(highlight=False, markup=False, width=400)
