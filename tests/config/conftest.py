import pytest

from detox.config import read_config


@pytest.fixture
def read(tmp_path):
    def _read(text, *overrides):
        (tmp_path / "my-run.toml").write_text(text)
        return read_config(str(tmp_path / "my-run.toml"), list(overrides))

    return _read
