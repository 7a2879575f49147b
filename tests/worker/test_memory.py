"""The memory that is left here is the machine's, or less where a container or a batch job has a limit."""

import pytest

from detox.worker.memory import available_memory

GB = 10**9
V1, V2 = ("limit_in_bytes", "usage_in_bytes", "total_inactive_file"), ("max", "current", "inactive_file")


def _group(folder, names, limit, used, dropped=0):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, used), strict=False):
        (folder / f"memory.{name}").write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {dropped}\n")


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 20000000 kB\nMemAvailable:   10000000 kB\n")
    return tmp_path


def test_without_a_limit_it_is_what_the_machine_has(machine):
    assert available_memory(machine) == 10_240_000_000
    (machine / "proc/self/cgroup").write_text("0::/job\n")
    _group(machine / "sys/fs/cgroup/job", V2, "max", GB)
    assert available_memory(machine) == 10_240_000_000


@pytest.mark.parametrize(
    ("line", "folder", "names"),
    [
        ("0::/jobs/one", "jobs/one", V2),
        ("0::/jobs/one", "jobs", V2),  # of the group around it
        ("0::/", "", V2),  # a container
        ("0::/../../elsewhere", "", V2),
        ("4:cpu,memory:/jobs/one", "memory/jobs/one", V1),
        ("4:memory:/docker/of-the-host", "memory", V1),  # a container, whose path is the host's
    ],
)
def test_a_control_group_with_a_limit_leaves_less_but_files_in_memory_do_not_count(machine, line, folder, names):
    (machine / "proc/self/cgroup").write_text(f"12:cpuset:/other\n{line}\n")
    _group(machine / "sys/fs/cgroup" / folder, names, 4 * GB, 3 * GB, GB // 2)
    assert available_memory(machine) == GB + GB // 2
    _group(machine / "sys/fs/cgroup" / folder, names, 40 * GB, 3 * GB)
    assert available_memory(machine) == 10_240_000_000


def test_the_least_of_several_limits_counts_and_one_that_is_used_up_leaves_a_byte(machine):
    (machine / "proc/self/cgroup").write_text("0::/jobs/one\n")
    _group(machine / "sys/fs/cgroup/jobs", V2, 4 * GB, 3 * GB)
    _group(machine / "sys/fs/cgroup/jobs/one", V2, 5 * GB, GB)
    assert available_memory(machine) == GB
    _group(machine / "sys/fs/cgroup/jobs", V2, GB, GB)
    assert available_memory(machine) == 1


def test_a_system_that_does_not_say_is_not_known(tmp_path):
    assert available_memory(tmp_path) == 0
