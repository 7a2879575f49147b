import json
import stat

import torch

from detox.ps.folder import RunFolder


def _folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create("p = 3\n")
    return folder


def test_done_is_written_last_and_makes_a_run_finished(tmp_path):
    folder = _folder(tmp_path)
    assert not folder.done
    folder.finish({"steps": 3})
    assert folder.done
    assert folder.summary() == {"steps": 3}
    assert not list(folder.path.glob("*.tmp"))


def test_a_checkpoint_comes_back_and_only_the_newest_two_are_kept(tmp_path):
    folder = _folder(tmp_path)
    for step in (10, 20, 30):
        folder.save_checkpoint(step, {"weights": torch.full((3,), float(step)), "counts": {"a": step}})
    step, state = folder.load_checkpoint()
    assert step == 30
    assert state["weights"].tolist() == [30, 30, 30]
    assert state["counts"] == {"a": 30}
    assert len(list((folder.path / "checkpoints").iterdir())) == 2


def test_lines_behind_the_checkpoint_are_dropped_on_resume(tmp_path):
    folder = _folder(tmp_path)
    folder.save_checkpoint(2, {})
    for step in range(1, 5):
        folder.append_metrics({"step": step})
    folder.ledger.write_text('{"step": 1}\n{"step": 3}\n{"step": 2, "half')
    folder.load_checkpoint()
    assert [json.loads(line)["step"] for line in folder.metrics.read_text().splitlines()] == [1, 2]
    assert folder.ledger.read_text() == '{"step": 1}\n'


def test_without_a_checkpoint_a_run_begins_anew(tmp_path):
    folder = _folder(tmp_path)
    folder.append_metrics({"step": 1})
    assert folder.load_checkpoint() is None
    assert not folder.metrics.exists()


def test_the_secret_is_drawn_once_and_readable_by_its_owner_only(tmp_path):
    folder = _folder(tmp_path)
    assert folder.keep_secret(lambda: 2**100 + 1) == 2**100 + 1
    assert folder.keep_secret(lambda: 5) == 2**100 + 1
    assert stat.S_IMODE((folder.path / "secret_seed").stat().st_mode) == 0o600
