"""What is delivered: the sdist, the wheel made of it, and a job of the wheel where little is as in the checkout."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import detox
from detox.launch.mpirun import MpirunError, find_mpirun

ROOT = Path(__file__).parents[2]
NOBODY = 65534
LEFT_OUT = ("runs", "build", "dist", "__pycache__", "*.egg-info", ".venv*", ".git", ".*_cache", ".hypothesis")


def _run(*line, **options):
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=240, **options)
    assert done.returncode == 0, f"{shlex.join(map(str, line))}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the checkout, for what is built leaves files in it."""
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("a") / "check out", ignore=shutil.ignore_patterns(*LEFT_OUT))


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def test_the_sdist_is_the_whole_checkout(source, built):
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    with tarfile.open(built[0]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert files - held - {path for path in files if ".egg-info" in path} == set()


def test_the_wheel_is_the_package_and_all_of_it(source, built):
    files = {source / "__init__.py", source / "py.typed"}
    for mark in source.glob("*/py.typed"):
        # What is beside the modules of `launch` is for a checkout; all else is there because a module opens it.
        files |= {path for path in mark.parent.rglob("*.py" if mark.parent.name == "launch" else "*") if path.is_file()}
        files.add(mark)
    held = {name for name in zipfile.ZipFile(built[1]).namelist() if ".dist-info/" not in name}
    assert held == {f"detox/{path.relative_to(source).as_posix()}" for path in files}


def test_there_is_one_version(built):
    for file in built:
        assert f"-{detox.__version__}" in file.name


JOB = """
import os, stat, sys
import detox

assert detox.__file__.startswith(sys.prefix), detox.__file__
assert os.geteuid() and "HOME" not in os.environ
try:
    open(detox.__file__, "a")
    sys.exit("the installation can be written")
except PermissionError:
    pass
run = detox.train(ranks=2, steps=3, p=3, model="softmax", aggregator={"name": "median"}, output="my runs")
print(run.status, run.path, detox.__version__)
"""


def test_the_wheel_trains_read_only_for_another_user_on_a_path_with_spaces(built, tmp_path):
    """Without a home folder, in another folder than the checkout."""
    try:
        mpirun = Path(find_mpirun())
    except MpirunError as error:
        pytest.skip(str(error))
    environment, folder = tmp_path / "an environment", tmp_path / "any where"
    _run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", built[1])
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    (site / "dependencies.pth").write_text(
        sysconfig.get_path("purelib") + "\n"
    )  # behind, so that the wheel comes first
    for path in (environment, *environment.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    folder.mkdir()
    user = []
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        # A Python in root's home folder has to be found and read all the same, also by what asks access(2).
        rights = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
        rights += ["--securebits", "+no_setuid_fixup"]
        user = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", *rights, "--"]
    libraries = [str(path) for path in (mpirun.parents[1] / "lib").glob("libmpi.so.*")][:1]
    variables = {"PATH": f"{mpirun.parent}:/usr/bin:/bin", "LANG": "C.UTF-8"}
    variables |= {"MPI4PY_LIBMPI": libraries[0]} if libraries else {}
    said = _run(*user, python, "-c", JOB, cwd=folder, env=variables)
    assert said.splitlines()[-1].startswith(f"finished {folder / 'my runs'}/run-")
    assert said.endswith(f" {detox.__version__}\n")
    assert _run(*user, environment / "bin" / "detox-ps", "--version", cwd=folder, env=variables).startswith("detox-ps ")
