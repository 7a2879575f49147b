"""The fields of launch/kubernetes/mpijob.yaml against those of the MPIJob v2beta1 resource (kubeflow/mpi-operator
0.6, manifests/base/kubeflow.org_mpijobs.yaml) and of a pod, as far as the file uses them; others are errors here."""

from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

FILE = Path(__file__).parents[2] / "launch" / "kubernetes" / "mpijob.yaml"


class Resource(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Mount(Resource):
    name: str
    mount_path: str


class Container(Resource):
    name: str
    image: str
    working_dir: str
    command: list[str]
    args: list[str]
    resources: dict[Literal["requests", "limits"], dict[Literal["cpu", "memory"], str]]
    volume_mounts: list[Mount]


class Volume(Resource):
    name: str
    persistent_volume_claim: dict[Literal["claimName"], str]


class Pod(Resource):
    containers: list[Container]
    volumes: list[Volume]
    security_context: dict[Literal["runAsUser", "runAsGroup", "fsGroup"], int]
    termination_grace_period_seconds: int = 30


class Template(Resource):
    spec: Pod


class ReplicaSpec(Resource):
    replicas: int
    restart_policy: Literal["Always", "OnFailure", "Never", "ExitCode"]
    template: Template


class RunPolicy(Resource):
    clean_pod_policy: Literal["Running", "None", "All"] = "None"
    backoff_limit: int | None = None
    active_deadline_seconds: int | None = None
    ttl_seconds_after_finished: int | None = None
    suspend: bool = False


class Replicas(Resource):
    launcher: ReplicaSpec = Field(alias="Launcher")
    worker: ReplicaSpec = Field(alias="Worker")


class Spec(Resource):
    mpi_replica_specs: Replicas
    slots_per_worker: int = 1
    run_launcher_as_worker: bool = False
    launcher_creation_policy: Literal["AtStartup", "WaitForWorkersReady"] = "AtStartup"
    ssh_auth_mount_path: str = "/root/.ssh"
    mpi_implementation: Literal["OpenMPI", "Intel", "MPICH"] = "OpenMPI"
    run_policy: RunPolicy


class MPIJob(Resource):
    api_version: Literal["kubeflow.org/v2beta1"]
    kind: Literal["MPIJob"]
    metadata: dict[str, Any]
    spec: Spec


def _content():
    return yaml.safe_load(FILE.read_text())


def test_the_job_has_only_fields_that_the_operator_knows():
    MPIJob(**_content())


def test_a_field_that_it_does_not_know_is_an_error():
    wrong = _content()
    wrong["spec"]["cleanPodPolicy"] = "Running"  # it was there in v1
    with pytest.raises(ValidationError, match="cleanPodPolicy"):
        MPIJob(**wrong)


def test_it_is_the_papers_cluster_with_the_ps_on_a_host_of_its_own():
    spec = MPIJob(**_content()).spec
    assert spec.run_launcher_as_worker
    assert (spec.mpi_replica_specs.launcher.replicas, spec.mpi_replica_specs.worker.replicas) == (1, 45)
    (ps,) = spec.mpi_replica_specs.launcher.template.spec.containers
    assert [*ps.command, *ps.args][:4] == ["detox-ps", "launch", "--hostfile", "/etc/mpi/hostfile"]
    assert Path(ps.args[-1]).suffix == ".toml"
    assert (FILE.parents[2] / ps.args[-1]).is_file()
