"""launch/kubernetes/listen.yaml against the command line, and against itself; there is no cluster here."""

import shlex
from pathlib import Path

import pytest
import yaml

from detox.config import read_config
from detox.config.address import parse_address
from detox.launch import join, listen
from detox.launch.train import parser
from detox.wire import keys

ROOT = Path(__file__).parents[2]
SERVICE, PS, WORKER = yaml.safe_load_all((ROOT / "launch" / "kubernetes" / "listen.yaml").read_text())


def pod(job):
    return job["spec"]["template"]


def container(job):
    (found,) = pod(job)["spec"]["containers"]
    return found


def command(job):
    """The words of detox-ps, behind the copy of the keys."""
    shell, option, script = [*container(job)["command"], *container(job)["args"]]
    assert (shell, option) == ("/bin/sh", "-c")
    copy, run = script.split(" && exec ")
    assert copy == "umask 077 && cp -rL /secret /tmp/keys"
    program, name, *words = shlex.split(run)
    assert program == "detox-ps"
    return name, words


def test_the_ps_is_served_with_a_config_that_exists():
    name, words = command(PS)
    options, rest = listen.parser().parse_known_args(words)
    _, fields = parser().parse_known_args(rest)
    assert name == "serve"
    assert str(options.keys) == "/tmp/keys"
    assert not options.as_root
    listen.check(read_config(str(ROOT / fields[0]), fields[1:]))


def test_the_worker_joins_the_service_at_the_port_that_the_ps_listens_on():
    name, words = command(WORKER)
    options = join.parser().parse_args(words)
    served, _ = listen.parser().parse_known_args(command(PS)[1])
    (port,) = SERVICE["spec"]["ports"]
    assert name == "join"
    assert parse_address("", options.address) == (SERVICE["metadata"]["name"], port["port"])
    assert parse_address("", served.listen)[1] == port["targetPort"]
    assert container(PS)["ports"] == [{"containerPort": port["targetPort"]}]
    assert str(options.keys) == "/tmp/keys"
    assert SERVICE["spec"]["selector"] == pod(PS)["metadata"]["labels"] != pod(WORKER)["metadata"]["labels"]


@pytest.mark.parametrize(("job", "folder"), [(PS, keys.PS), (WORKER, keys.worker_folder(0))])
def test_each_pod_has_its_own_key_and_no_rights_beside(job, folder):
    spec = pod(job)["spec"]
    secrets = {volume["name"]: volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume}
    mounts = {mount["name"]: mount["mountPath"] for mount in container(job)["volumeMounts"]}
    assert list(secrets.values()) == [f"detox-key-{folder}"]
    assert [mounts[name] for name in secrets] == ["/secret"]
    assert mounts.keys() == {volume["name"] for volume in spec["volumes"]}
    assert spec["securityContext"]["runAsUser"] != 0
    assert spec["automountServiceAccountToken"] is False
    assert (job["kind"], spec["restartPolicy"]) == ("Job", "OnFailure")
