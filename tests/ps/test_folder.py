import errno
import json
import resource
import stat
from pathlib import Path

import pytest
import torch
from blake3 import blake3

from detox.ps.folder import CheckpointError, RunFolder


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
    step, state = folder.load_checkpoint(pytest.fail)
    assert step == 30
    assert state["weights"].tolist() == [30, 30, 30]
    assert state["counts"] == {"a": 30}
    assert len(list((folder.path / "checkpoints").iterdir())) == 2


def test_a_checkpoint_of_the_same_step_takes_the_place_of_the_one_before(tmp_path):
    folder = _folder(tmp_path)
    for state in ("a", "b", "c", "a"):
        folder.save_checkpoint(10, {"at": state})
        assert folder.load_checkpoint(pytest.fail) == (10, {"at": state})
        assert len(list((folder.path / "checkpoints").iterdir())) == 1
    folder.save_checkpoint(20, {"at": "d"})
    assert len(list((folder.path / "checkpoints").iterdir())) == 2


def test_lines_behind_the_checkpoint_are_dropped_on_resume(tmp_path):
    folder = _folder(tmp_path)
    folder.save_checkpoint(2, {})
    for step in range(1, 5):
        folder.append_metrics({"step": step})
    folder.ledger.write_text('{"step": 1}\n{"step": 3}\n{"step": 2, "half')
    content = folder.metrics.read_bytes(), folder.ledger.read_bytes()
    assert folder.load_checkpoint(pytest.fail)[0] == 2
    assert (folder.metrics.read_bytes(), folder.ledger.read_bytes()) == content  # to look changes nothing
    folder.rewind(2, pytest.fail)
    assert [json.loads(line)["step"] for line in folder.metrics.read_text().splitlines()] == [1, 2]
    assert folder.ledger.read_text() == '{"step": 1}\n'


def test_without_a_checkpoint_a_run_begins_anew(tmp_path):
    folder = _folder(tmp_path)
    folder.append_metrics({"step": 1})
    assert folder.load_checkpoint(pytest.fail) is None
    folder.rewind(0, pytest.fail)
    assert folder.metrics.read_text() == ""


def test_a_checkpoint_that_changed_on_the_disk_is_passed_over_for_the_one_before(tmp_path):
    folder = _folder(tmp_path)
    for step in (10, 20):
        folder.save_checkpoint(step, {"weights": torch.full((300,), float(step))})
    newest = max((folder.path / "checkpoints").iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    warnings = []
    step, state = folder.load_checkpoint(warnings.append)
    assert step == 10
    assert state["weights"][0] == 10
    assert len(warnings) == 1
    assert newest.name in warnings[0]
    (older,) = set((folder.path / "checkpoints").iterdir()) - {newest}
    older.write_bytes(b"")
    with pytest.raises(CheckpointError, match="starts over"):
        folder.load_checkpoint(warnings.append)


def test_as_many_checkpoints_are_kept_as_wanted(tmp_path):
    folder = RunFolder(tmp_path / "run", checkpoints_kept=3)
    folder.create("")
    for step in range(1, 6):
        folder.save_checkpoint(step, {})
    assert len(list((folder.path / "checkpoints").iterdir())) == 3


def test_the_status_says_how_the_run_stands(tmp_path):
    folder = _folder(tmp_path)
    assert folder.read_status() == {}
    folder.write_status("failed", "all ranks are lost")
    told = folder.read_status()
    assert (told["status"], told["why"], told["again"]) == ("failed", "all ranks are lost", True)
    folder.finish({})
    assert folder.read_status()["status"] == "finished"
    assert folder.read_status()["again"]  # `done` comes after it


def _content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _finished(tmp_path):
    """A finished run with files of the user's among its own."""
    folder = _folder(tmp_path)
    folder.keep_secret(lambda: 7)
    folder.save_checkpoint(1, {})
    folder.append_metrics({"step": 1})
    folder.finish({"steps": 1})
    (folder.path / "notes.txt").write_text("mine")
    (folder.path / "checkpoints" / "step-00000001-mine.pt").write_text("mine")
    return folder


def test_a_folder_that_starts_over_has_nothing_to_resume_and_the_users_files(tmp_path):
    folder = _finished(tmp_path)
    folder.start_over()
    folder.create("p = 3\n")
    assert not folder.done
    assert folder.load_checkpoint(pytest.fail) is None
    folder.rewind(0, pytest.fail)
    folder.discard_previous()
    assert set(_content(folder.path)) == {
        "config.toml", "metrics.jsonl", "ledger.jsonl", "chain.jsonl", "notes.txt", "checkpoints/step-00000001-mine.pt"
    }  # fmt: skip
    assert not folder.replaces


def test_an_earlier_run_comes_back_whole_where_its_replacement_did_not_start(tmp_path):
    folder = _finished(tmp_path)
    before = _content(folder.path)
    folder.start_over()
    folder.create("p = 6\n")
    folder.write_status("running")
    folder.keep_secret(lambda: 8)
    folder.end("failed", "no such host", again=True)
    after = _content(folder.path)
    status = folder.read_status()
    assert (status["status"], status["start_over"]["why"]) == ("finished", "no such host")
    assert {**after, "status.json": b""} == {**before, "status.json": b""}


class Killed(BaseException):
    pass


def test_a_kill_at_any_moment_of_starting_over_loses_nothing(tmp_path, monkeypatch):
    replace, unlink, rename = Path.replace, Path.unlink, Path.rename
    moments = 0
    while True:
        folder = _finished(tmp_path / str(moments))
        before, left = _content(folder.path), moments

        def until(act):
            def counted(*arguments, **options):
                nonlocal left
                if not left:
                    raise Killed
                left -= 1
                return act(*arguments, **options)

            return counted

        for name, act in (("replace", replace), ("unlink", unlink), ("rename", rename)):
            monkeypatch.setattr(Path, name, until(act))
        try:
            folder.start_over()
            folder.create("p = 6\n")
            folder.keep_secret(lambda: 8)
            folder.bring_back()
            ended = True
        except Killed:
            ended = False
        monkeypatch.undo()
        RunFolder(folder.path).bring_back()
        assert _content(folder.path) == before, moments
        if ended:
            break
        moments += 1
    assert moments >= 20


STRANGERS = [
    "step-best-0123.pt", "step-00000001-mine.pt", "step-00000001-" + "0" * 32 + "-backup.pt",
    "step-00000001-" + "0" * 31 + ".pt", "step-00000001-" + "G" * 32 + ".pt", "step-1-" + "0" * 32 + ".pt", "notes.txt",
]  # fmt: skip


def test_only_files_of_exactly_our_form_are_checkpoints_or_are_removed(tmp_path):
    folder = _folder(tmp_path)
    checkpoints = folder.path / "checkpoints"
    for name in STRANGERS:
        (checkpoints / name).write_text("mine")
    (checkpoints / f"step-00000009-{'0' * 32}.pt").mkdir()
    for step in range(1, 5):
        folder.save_checkpoint(step, {"at": step})
    assert folder.load_checkpoint(pytest.fail) == (4, {"at": 4})
    assert len(list(checkpoints.iterdir())) == len(STRANGERS) + 1 + 2
    folder.start_over()
    folder.discard_previous()
    assert {path.name for path in checkpoints.iterdir()} == {*STRANGERS, f"step-00000009-{'0' * 32}.pt"}


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02K\x01.", b"not a checkpoint" * 100])
def test_a_damaged_checkpoint_under_a_right_digest_is_passed_over(tmp_path, content):
    folder = _folder(tmp_path)
    folder.save_checkpoint(1, {"at": 1})
    name = f"step-00000002-{blake3(content).hexdigest(16)}.pt"
    (folder.path / "checkpoints" / name).write_bytes(content)
    warnings = []
    assert folder.load_checkpoint(warnings.append) == (1, {"at": 1})
    assert name in warnings[0]
    assert "passed over" in warnings[0]


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe\x00binary", b"[1]", b"{}", b'{"step": "x"}', b'{"step": 1, "kin', b"[" * 99_999]
)
def test_a_line_that_cannot_be_read_costs_no_other_and_is_said(tmp_path, damage):
    folder = _folder(tmp_path)
    folder.save_checkpoint(9, {})
    folder.ledger.write_bytes(b'{"step": 1}\n' + damage + b'\n{"step": 2}\n{"step": 3, "torn')
    warnings = []
    folder.rewind(9, warnings.append)
    assert folder.ledger.read_text() == '{"step": 1}\n{"step": 2}\n'
    assert [warning for warning in warnings if "ledger.jsonl: 1 lines cannot be read" in warning] == warnings
    assert len(warnings) == 1


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b"{", b"[]", b"\xff", b'"x"'])
def test_a_status_that_a_power_cut_left_empty_or_torn_says_nothing(tmp_path, content):
    folder = _folder(tmp_path)
    (folder.path / "status.json").write_bytes(content)
    assert folder.read_status() == {}


@pytest.mark.parametrize("content", [None, b"", b"\0\0", b"seven", b"-3", b"\xff"])
def test_a_lost_secret_is_drawn_anew_only_where_nothing_was_made_with_it(tmp_path, content):
    folder = _folder(tmp_path)
    path = folder.path / "secret_seed"
    if content is not None:
        path.write_bytes(content)
    assert folder.keep_secret(lambda: 5) == 5
    folder.save_checkpoint(1, {})
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"secret_seed is missing or damaged.*--no-resume starts over"):
        folder.keep_secret(lambda: 6)
    assert folder.keep_secret(lambda: 6, known=5) == 5  # as the config says
    assert path.read_bytes() == b"5\n"


def test_a_full_disk_leaves_the_last_files_whole_and_takes_a_status_over_the_old_one(tmp_path, monkeypatch):
    folder = _folder(tmp_path)
    folder.write_status("running")
    folder.save_checkpoint(1, {"at": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # as a full disk, for what is longer
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.save_checkpoint(2, {"weights": torch.zeros(10_000)})
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("detox.ps.status.write_whole", full)
        folder.write_status("failed", "x" * 9999)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        monkeypatch.undo()
    assert folder.read_status()["status"] == "failed"
    assert folder.load_checkpoint(pytest.fail) == (1, {"at": 1})
    assert len(list((folder.path / "checkpoints").iterdir())) == 1


def test_the_secret_is_drawn_once_and_readable_by_its_owner_only(tmp_path):
    folder = _folder(tmp_path)
    assert folder.keep_secret(lambda: 2**100 + 1) == 2**100 + 1
    assert folder.keep_secret(lambda: 5) == 2**100 + 1
    assert stat.S_IMODE((folder.path / "secret_seed").stat().st_mode) == 0o600
