"""DETOX from Python: `import detox`. Its names are imported when they are used, so that this costs nothing.

Each folder of the checkout is a package in here, `ps/` is `detox.ps`.
"""

TYPE_CHECKING = False  # as typing's, which is not imported: commands start here, perhaps beside a user's own typing.py

if TYPE_CHECKING:
    from detox.errors import DetoxError, JobError, UserError
    from detox.launch.from_python import train
    from detox.reports.plan import expect as plan
    from detox.reports.runs import Run, runs
    from detox.tasks import Task

__all__ = ["DetoxError", "JobError", "Run", "Task", "UserError", "__version__", "plan", "runs", "train"]

_HOMES = {
    "DetoxError": ("errors", "DetoxError"),
    "JobError": ("errors", "JobError"),
    "Run": ("reports.runs", "Run"),
    "Task": ("tasks", "Task"),
    "UserError": ("errors", "UserError"),
    "plan": ("reports.plan", "expect"),
    "runs": ("reports.runs", "runs"),
    "train": ("launch.from_python", "train"),
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("detox-ps")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from importlib import import_module

    module, attribute = _HOMES[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return __all__
