"""What holds for all tests."""

import os
import signal
import sys

import pytest
from hypothesis import settings

from detox.launch import environment

environment.apply()  # as each rank does, before torch is imported: what is computed here has the bits of real jobs

import torch  # noqa: E402
from one_process import Jobs  # noqa: E402

# A shell starts what it runs in the background with these ignored, and so would be what tests start and send them to.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)

# No test asserts a time, so hypothesis shall not either.
settings.register_profile("detox", deadline=None)
settings.load_profile("detox")


@pytest.fixture(scope="session")
def here(tmp_path_factory):
    """Jobs in this process."""
    return Jobs(tmp_path_factory.mktemp("here"))


@pytest.fixture
def settings_of_torch():
    """What a command fixes for its process is as before when it is called in this one."""
    threads, deterministic = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(deterministic)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """MPI is for the ranks of jobs; where DETOX_MAY_SKIP is set, as in CI, no test is skipped for another reason."""
    allowed = os.environ.get("DETOX_MAY_SKIP")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    if "mpi4py.MPI" in sys.modules:
        reporter.write_line("\nMPI was imported into pytest's own process", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if not allowed:
        return
    skipped = {(report.nodeid, report.longrepr[2]) for report in reporter.stats.get("skipped", [])}
    if wrong := sorted(item for item in skipped if allowed not in item[1]):
        reporter.write_line(f'\nskipped, but not for "{allowed}":', red=True)
        for nodeid, reason in wrong:
            reporter.write_line(f"  {nodeid}: {reason}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
