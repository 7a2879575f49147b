"""Jobs over the loopback with keys: made once for a module, whose P says for how many workers."""

from functools import partial

import pytest
from loopback import train

from detox.wire import keys


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    """A folder with the keys of the module's P workers."""
    folder = tmp_path_factory.mktemp("hostile")
    keys.make(folder / "keys", range(request.module.P))
    return folder


@pytest.fixture
def job_folder(folder, tmp_path):
    """A folder of the test's own, with these keys."""
    (tmp_path / "keys").symlink_to(folder / "keys")
    return tmp_path


@pytest.fixture
def start(request, job_folder):
    """Starts a job there, with the module's OPTIONS and more."""
    return partial(train, job_folder, *request.module.OPTIONS, p=request.module.P)
