"""The images: linted, and in agreement with what else says something of them. Building them takes a builder."""

import configparser
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "launch" / "container"
CONTAINERFILE = (FOLDER / "Containerfile").read_text()
DEFINITION = (FOLDER / "detox.def").read_text()
MPIJOB = yaml.safe_load((ROOT / "launch" / "kubernetes" / "mpijob.yaml").read_text())


def _pods():
    return [replica["template"]["spec"] for replica in MPIJOB["spec"]["mpiReplicaSpecs"].values()]


def _sections():
    """Of Apptainer's definition: the header under "", and each section's lines."""
    found = {"": []}
    name = ""
    for line in DEFINITION.splitlines():
        if line.startswith("%"):
            name = line[1:]
            found[name] = []
        elif line.strip() and not line.startswith("#"):
            found[name].append(line.strip())
    return found


def test_the_containerfile_passes_its_linter():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, FOLDER / "Containerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_apptainers_definition_has_the_sections_that_there_are():
    sections = _sections()
    assert set(sections) <= {
        "",
        "arguments",
        "files",
        "environment",
        "post",
        "runscript",
        "startscript",
        "test",
        "help",
    }
    header = dict(line.split(": ") for line in sections[""])
    assert header.keys() == {"Bootstrap", "From"}
    given = {line.partition("=")[0] for line in sections["arguments"]}
    assert set(re.findall(r"{{ (\w+) }}", DEFINITION)) == given
    for script in ("post", "test", "runscript"):
        text = "\n".join(sections[script])
        assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_both_images_are_the_same_python_with_the_same_packages():
    (base,) = re.findall(r"^FROM docker.io/library/(.*)$", CONTAINERFILE, re.MULTILINE)
    assert f"From: {base}" in _sections()[""]
    (line,) = re.findall(r"^RUN (pip install .*?)(?: \\)?$", CONTAINERFILE, re.MULTILINE)
    assert line in _sections()["post"]


def test_what_the_images_copy_is_there_or_is_built_and_is_not_ignored():
    copied = [words for line in re.findall(r"^COPY (.*) \S+$", CONTAINERFILE, re.MULTILINE) for words in line.split()]
    copied += [line.split()[0] for line in _sections()["files"]]
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for path in copied:
        assert path == "dist/*.whl" or (ROOT / path).is_file()
        assert any(path == keep or path.startswith(f"{keep}/") for keep in kept)


def test_the_pods_run_this_version_of_the_image_as_its_user():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    image = f"registry.example/detox:{setup['metadata']['version']}"
    assert {container["image"] for pod in _pods() for container in pod["containers"]} == {image}
    assert f"--tag {image} " in CONTAINERFILE
    (user,) = re.findall(r"^USER (\d+)$", CONTAINERFILE, re.MULTILINE)
    (name,) = re.findall(rf"useradd --create-home --uid {user} (\w+)", CONTAINERFILE)
    assert [pod["securityContext"] for pod in _pods()] == [{"runAsUser": int(user), "fsGroup": int(user)}] * 2
    assert MPIJOB["spec"]["sshAuthMountPath"] == f"/home/{name}/.ssh"


def test_sshd_of_the_pods_has_the_key_that_the_operator_mounts_and_the_port_of_ssh():
    (server,) = re.findall(r"^COPY launch/container/sshd_config (\S+)$", CONTAINERFILE, re.MULTILINE)
    worker = _pods()[1]["containers"][0]
    assert worker["args"][-2:] == ["-f", server]
    told, client = (FOLDER / "sshd_config").read_text(), (FOLDER / "ssh_config").read_text()
    assert f"HostKey {MPIJOB['spec']['sshAuthMountPath']}/id_rsa\n" in told
    assert re.search(r"Port (\d+)", told)[1] == re.search(r"Port (\d+)", client)[1]


@pytest.mark.parametrize(
    ("image", "before"), [({}, []), ({"DETOX_IMAGE": "my detox.sif"}, ["apptainer", "exec", "my detox.sif"])]
)
def test_srun_starts_the_ranks_in_the_image_where_there_is_one(tmp_path, image, before):
    srun = tmp_path / ".venv" / "bin" / "srun"
    srun.parent.mkdir(parents=True)
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    (tmp_path / "launch").symlink_to(ROOT / "launch")
    environment = {"PATH": os.environ["PATH"], "SLURM_SUBMIT_DIR": str(tmp_path), **image}
    line = ["bash", ROOT / "launch" / "slurm" / "srun.sbatch", "a b.toml", "--q", "2"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["--mpi=pmix", *before, *shlex.split("detox-ps train 'a b.toml' --q 2")]
