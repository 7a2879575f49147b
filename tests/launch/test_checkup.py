import math

import numpy as np
import pytest

from detox.config import Config
from detox.launch.checkup import of_bits, of_folder, of_memory, of_mpi, of_network, of_ranks, of_servers
from detox.launch.patients import Patient

FACTS = {"host": "a", "torch": "2.13", "cpu_capability": "AVX2", "threads": "1", "python": "3.11", "machine": "x86_64"}


def _patient(rank, host="a", **changes):
    facts = {**FACTS, "host": host, **changes.pop("facts", {})}
    measured = {"latency": 0.001, "bandwidth": 1e8, "clock": 0.0, "memory": 10**10, "digest": b"x", **changes}
    return Patient(rank, facts, **measured)


def _levels(checks):
    return {check.what: check.level for check in checks}


def test_equal_hosts_are_all_green():
    patients = [_patient(rank, f"h{rank}") for rank in (1, 2, 3)]
    checks = [*of_ranks(patients, [], "ps"), *of_network(patients, 10**6)]
    checks += of_memory(patients, Config(), 10**6, "ps", 10**10)
    checks += [*of_bits(patients, b"x", Config(), 2), of_mpi("Open MPI", "")]
    assert set(_levels(checks).values()) == {"green"}


def test_ranks_that_compute_other_bits_are_named_with_what_differs():
    patients = [_patient(rank) for rank in (1, 2, 3)]
    patients.append(_patient(4, "odd", digest=b"y", facts={"cpu_capability": "AVX512"}))
    (check, _) = of_bits(patients, b"x", Config(), 2)
    assert check.level == "red"
    assert "ranks 1, 2, 3" in check.found
    assert "rank 4: " in check.found
    assert "AVX512" in check.found
    assert "never agree" in check.advice
    assert _levels(of_ranks(patients, [], "ps"))["cpu_capability"] == "yellow"


def test_gpus_are_compared_by_model_driver_and_bits():
    gpu = {"gpu": "NVIDIA A100", "gpu_driver": "550.54.15", "cuda": "12.4", "gpu_number": "0"}
    patients = [_patient(rank, f"h{rank}", facts={**gpu, "gpu_number": str(rank)}) for rank in (1, 2, 3)]
    assert {check.level for check in [*of_ranks(patients, [], "ps"), *of_bits(patients, None, Config(), 2)]} == {
        "green"
    }
    patients.append(_patient(4, "h4", digest=b"y", facts={**gpu, "gpu": "NVIDIA H100", "gpu_driver": "570.86"}))
    levels = _levels(of_ranks(patients, [], "ps"))
    assert (levels["gpu"], levels["gpu_driver"], levels.get("cuda")) == ("yellow", "yellow", None)
    (check,) = of_bits(patients, None, Config(), 2)
    assert check.level == "red"
    assert "gpu NVIDIA H100, gpu_driver 570.86" in check.found


def test_a_ps_with_other_bits_is_warned_of_recomputation_only():
    patients = [_patient(1), _patient(2)]
    assert _levels(of_bits(patients, b"other", Config(), 2)) == {"bits": "green", "bits of the PS": "yellow"}


@pytest.mark.parametrize("changes", [{"on_tie": "recompute"}, {"quarantine": {"policy": "recompute"}}])
def test_a_ps_that_is_to_recompute_and_has_other_bits_than_any_rank_is_red(changes):
    config = Config(**changes)
    patients = [_patient(1), _patient(2), _patient(3, digest=b"y")]
    check = of_bits(patients, b"x", config, 2)[-1]
    assert (check.level, check.found) == ("red", "the PS computes other bits than rank 3")


def test_one_rank_is_not_told_as_all_ranks():
    (check,) = of_bits([_patient(1)], b"x", Config(p=1, r=1), 2)
    assert (check.level, check.found) == ("green", "one rank, and none that could differ")
    (check,) = of_bits([_patient(1), _patient(2)], b"x", Config(), 2)
    assert check.found == "all 2 ranks compute equal gradients"


def test_missing_ranks_and_missing_data_are_red():
    patients = [_patient(1), Patient(2, {"host": "b", "error": "no such folder"})]
    levels = _levels(of_ranks(patients, [3], "ps"))
    assert levels["ranks"] == "red"
    assert levels["data on rank 2"] == "red"
    assert "network" not in {check.what for check in of_network(patients, 1) if check.level == "red"}


def test_a_ps_that_shares_its_host_is_yellow_on_a_cluster_and_not_on_a_laptop():
    assert _levels(of_ranks([_patient(1, "ps"), _patient(2, "b")], [], "ps"))["places"] == "yellow"
    assert _levels(of_ranks([_patient(1, "ps"), _patient(2, "ps")], [], "ps"))["places"] == "green"


@pytest.mark.parametrize("change", [{"latency": 0.1}, {"bandwidth": 1e6}])
def test_one_slow_host_is_named(change):
    patients = [*(_patient(rank) for rank in (1, 2, 3)), _patient(4, "slow", **change)]
    check = next(check for check in of_network(patients, 0) if check.what == "network")
    assert check.level == "yellow"
    assert "rank 4 on slow" in check.found


def test_a_rank_that_does_not_answer_is_red():
    silent = Patient(2, FACTS)
    assert of_network([_patient(1), silent], 0)[0].level == "red"


def test_a_wrong_clock_is_named_with_its_error():
    check = next(c for c in of_network([_patient(1), _patient(2, "late", clock=-7.0)], 0) if c.what == "clocks")
    assert check.level == "yellow"
    assert "rank 2 on late by -7.0 s" in check.found


def test_too_little_memory_for_what_the_workers_claim_is_red():
    config = Config(p=45, workers_per_rank=15)
    enough, short = _patient(1, "a"), _patient(2, "b", memory=6 * 10**8)
    (check,) = of_memory([enough, short], config, 4 * 11_000_000, "ps", 10**10)
    assert check.level == "red"
    assert "b has 0.6 GB" in check.found
    assert "a has" not in check.found


def test_ranks_of_one_host_and_the_ps_share_its_memory():
    config, size = Config(p=45, workers_per_rank=15), 4 * 11_000_000
    apart = [_patient(rank, f"h{rank}", memory=2 * 10**9) for rank in (1, 2, 3)]
    together = [_patient(rank, "h", memory=2 * 10**9) for rank in (1, 2, 3)]
    assert of_memory(apart, config, size, "ps", 2 * 10**9)[0].level == "green"
    assert of_memory(together, config, size, "h", 2 * 10**9)[0].level == "red"


def test_a_ps_that_has_no_room_for_every_copy_is_red():
    patients, size = [_patient(1)], 4 * 11_000_000
    for vote, level in (("digest", "green"), ("full", "red"), ("tolerance", "red")):
        config = Config(p=45, workers_per_rank=1, vote=vote)
        assert of_memory(patients, config, size, "ps", 10**9)[0].level == level


def test_another_server_than_the_ps_needs_its_part_of_the_votes_and_no_checkpoint():
    config = Config(p=9, q=0, r=3, servers=4, optimizer={"name": "Adam"})
    size, vectors = 4 * 10**6, (2 + 3) / 4 + 2 * 3 / 4  # state and votes; two copies of weights and state
    workers = [_patient(rank, f"h{rank}", memory=10**11) for rank in range(4, 13)]
    for memory, level in ((size * vectors, "green"), (size * vectors / 2, "red")):
        servers = [_patient(rank, f"h{rank}", memory=round(memory)) for rank in (1, 2, 3)]
        assert of_memory([*servers, *workers], config, size, "ps", 10**11)[0].level == level


@pytest.mark.parametrize(("device", "gradients"), [("cpu", 48), ("cuda", 16)])
def test_a_batched_call_takes_the_memory_of_its_16_files(device, gradients):
    size, own = (
        4 * 11_000_000,
        4 + 3 + (3 + 16) * 2**20 / 11_000_000,
    )  # three claims and what leaves
    each, batched = (Config(p=3, q=0, r=3, compute=compute, device=device) for compute in ("each", "batched"))
    for more, level in (
        (0, "green"),
        (gradients, "green"),
        (gradients - 1, "yellow"),
        (0.72 * (own + gradients) - own - 1, "red"),
    ):
        ranks = [_patient(1, memory=math.ceil(size * (own + more)))]
        config = batched if more else each
        assert of_memory(ranks, config, size, "ps", 10**10)[0].level == level


def test_a_ps_that_recomputes_batched_needs_room_beside_its_votes():
    size = 4 * 11_000_000
    for on_tie, gradients, level in (
        ("drop", 48, "green"),
        ("drop", 47, "yellow"),
        ("drop", 33, "red"),
        ("recompute", 48, "yellow"),
        ("recompute", 36, "red"),
    ):
        config = Config(p=3, q=0, r=3, compute="batched", on_tie=on_tie)
        assert of_memory([_patient(1, memory=10**11)], config, size, "ps", size * gradients)[0].level == level


def test_memory_that_is_not_known_is_not_judged():
    assert of_memory([_patient(1, memory=0), _patient(2, memory=None)], Config(), 10**6, "ps", 0) == []
    assert of_memory([_patient(1)], Config(), 0, "ps", 10**9) == []


def test_a_full_disk_is_red(tmp_path, monkeypatch):
    config = Config(output=str(tmp_path / "deep" / "runs"))
    assert _levels(of_folder(config, 10))["disk"] == "green"
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    assert _levels(of_folder(config, 1000))["disk"] == "red"


def test_what_mpi_cannot_survive_is_said():
    assert of_mpi("MPICH", "a rank that dies ends the job").level == "yellow"


def test_how_far_classes_are_apart_gives_the_tolerance_that_would_do():
    one, other = np.array([3, 4], np.float32), np.array([3, 4.005], np.float32)
    patients = [_patient(1, gradient=one), _patient(2), _patient(3, digest=b"y", gradient=other)]
    check = of_bits(patients, b"x", Config(), 2)[0]
    assert check.level == "red"
    assert "up to 1.0e-03 of their length apart" in check.found
    assert "vote_tolerance = 4.0e-03" in check.advice
    check = of_bits(patients, b"x", Config(vote="tolerance", vote_tolerance=0.004), 2)[0]
    assert check.level == "yellow"


@pytest.mark.parametrize("changes", [{"groups_within": "class"}, {"r": 1}])
def test_classes_that_share_no_group_are_yellow(changes):
    patients = [_patient(1), _patient(2), _patient(3, digest=b"y")]
    assert of_bits(patients, b"x", Config(**changes), 2)[0].level == "yellow"


@pytest.mark.parametrize("other", [[np.nan, 4], [-3, -4]])
def test_classes_too_far_apart_for_any_tolerance_get_no_advice_of_one(other):
    one = np.array([3, 4], np.float32)
    patients = [_patient(1, gradient=one), _patient(2, digest=b"y", gradient=np.array(other, np.float32))]
    assert "vote_tolerance" not in of_bits(patients, b"x", Config(), 2)[0].advice


def test_servers_need_parameters_and_ranks_and_keep_a_part_of_the_votes_each():
    config = Config(p=9, servers=2)
    assert of_servers(Config(), 10, 2) == []
    (check,) = of_servers(config, 3 * 2**15, 3)
    assert (check.level, check.found) == ("green", "ranks 0 to 1 share the model, at most 67% each")
    assert of_servers(config, 1000, 3)[0].level == "red"
    assert of_servers(config, 3 * 2**15, 1)[0].level == "red"
    size, memory = 15 * 10**7, 10**9  # bytes of a gradient, and of each host
    patients = [_patient(1, host="a", memory=memory), _patient(2, host="b", memory=10**11)]
    assert of_memory(patients, config, size, "ps", memory)[0].level == "green"
    assert of_memory(patients, Config(p=9), size, "ps", memory)[0].level == "red"
