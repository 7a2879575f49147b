import pytest


@pytest.fixture
def main(script):
    return script("experiments.network_figure").main


@pytest.mark.parametrize("damage", [None, "folder", "run"])
def test_a_folder_without_a_run_is_told_in_words(main, tmp_path, capsys, damage):
    if damage:
        (tmp_path / "1gbit").mkdir()
    if damage == "run":
        (tmp_path / "1gbit" / "run").mkdir()
        (tmp_path / "1gbit" / "run" / "done").touch()
    assert main([str(tmp_path / "1gbit"), "--plot", str(tmp_path / "a.pdf")]) == 2
    assert "1gbit: there is no finished run in it" in capsys.readouterr().err
    assert not (tmp_path / "a.pdf").exists()
