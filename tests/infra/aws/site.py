"""A site on the simulated AWS, made from a copy of `infra/terraform` with the variables of a user and nothing else."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.infra.aws.cloud import KEY_PAIR, REGION, Cloud
from tests.infra.aws.terraform import NOT_OURS, ROOT, Change, Terraform, TerraformFailed

STATE_KEY: Final = "fedtier/terraform.tfstate"
_LOCK: Final = {
    "ID": "00000000-0000-0000-0000-000000000000",
    "Operation": "OperationTypeApply",
    "Who": "somebody@elsewhere",
    "Version": "1.11.0",
    "Created": "2026-01-01T00:00:00Z",
}


@dataclass(frozen=True, slots=True)
class Site:
    """What a user does with `infra/terraform`, step by step; how long each took stands in `seconds`."""

    cloud: Cloud
    terraform: Terraform
    seconds: dict[str, float] = field(default_factory=dict)

    def bootstrap(self) -> str:
        """Make the bucket for the state, and return its name."""
        made = self._bootstrapping
        made.run("init", "-input=false")
        made.run("apply", "-auto-approve", "-input=false")
        return str(made.outputs()["bucket"])

    def plan_bootstrap(self) -> frozenset[Change]:
        """Return what another `bootstrap` would change."""
        return self._bootstrapping.changes("plan", kind="planned_change")

    def refusal_to_destroy_the_state(self) -> str:
        """Return what Terraform says to who would destroy the bucket for the state."""
        with _refused() as told:
            self._bootstrapping.run("destroy", "-auto-approve", "-input=false", "-no-color")
        return told[0]

    def initialise(self, state_bucket: str) -> None:
        """Tell Terraform where its state is."""
        where = (f"-backend-config=bucket={state_bucket}", f"-backend-config=region={REGION}")
        self.terraform.run("init", "-input=false", *where)

    def plan(self, clients: int) -> frozenset[Change]:
        """Return what `apply` would change."""
        with self._timed(f"plan {clients}"):
            return self.terraform.changes("plan", *_variables(clients), kind="planned_change")

    def plan_in(self, vpc: str, subnets: list[str]) -> frozenset[Change]:
        """Return what `apply` would make in a VPC that is there."""
        there = [f"-var=vpc_id={vpc}", f"-var=subnet_ids={json.dumps(subnets)}"]
        return self.terraform.changes("plan", *_variables(clients=3), *there, kind="planned_change")

    def apply(self, clients: int) -> frozenset[Change]:
        """Make the site have so many client hosts, and return what was changed."""
        with self._timed(f"apply {clients}"):
            return self.terraform.changes("apply", "-auto-approve", *_variables(clients), kind="apply_complete")

    def destroy(self, clients: int) -> frozenset[Change]:
        """Remove everything, and return what was removed."""
        with self._timed("destroy"):
            return self.terraform.changes("destroy", "-auto-approve", *_variables(clients), kind="apply_complete")

    def refusal_while_locked(self, state_bucket: str, clients: int) -> str:
        """Return what Terraform says while somebody else changes the site."""
        s3 = self.cloud.client("s3")
        lock = {"Bucket": state_bucket, "Key": f"{STATE_KEY}.tflock"}
        s3.put_object(**lock, Body=json.dumps(_LOCK).encode())
        try:
            with _refused() as told:
                self.terraform.run("plan", "-lock-timeout=0s", "-input=false", "-no-color", *_variables(clients))
        finally:
            s3.delete_object(**lock)
        return told[0]

    def outputs(self) -> dict[str, Any]:
        """Return what the site gives to whoever goes on with it."""
        return self.terraform.outputs()

    @property
    def _bootstrapping(self) -> Terraform:
        there = self.terraform
        return Terraform(there.program, there.folder / "bootstrap", there.environment)

    @contextlib.contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[step] = round(time.monotonic() - began, 1)


def site_in(folder: Path, cloud: Cloud, program: str, environment: dict[str, str]) -> Site:
    """Return a site whose configuration is copied to a folder, which must not be there yet."""
    shutil.copytree(ROOT, folder, ignore=NOT_OURS)
    return Site(cloud, Terraform(program, folder, environment | cloud.environment))


def _variables(clients: int) -> list[str]:
    wanted = {"key_pair": KEY_PAIR, "number_of_clients": str(clients), "delete_models_on_destroy": "true"}
    return ["-var-file=example.tfvars", *(f"-var={name}={value}" for name, value in wanted.items())]


@contextlib.contextmanager
def _refused() -> Iterator[list[str]]:
    told: list[str] = []
    try:
        yield told
    except TerraformFailed as refusal:
        told.append(str(refusal))
    else:
        raise AssertionError("Terraform did it, but should have refused")
