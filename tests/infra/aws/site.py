"""A site on the simulated AWS, made from a copy of the checkout with the variables of a user and nothing else."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.infra.aws.cloud import KEY_PAIR, REGION, Cloud
from tests.infra.aws.terraform import NOT_OURS, ROOT, Change, Terraform, TerraformFailed

_PACKAGES: Final = ("fedtier", "client", "fedtier_cli")
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
    """What a user does with `fedtier deploy` and Terraform, step by step; how long each took stands in `seconds`."""

    cloud: Cloud
    checkout: Path
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

    def plan(self, clients: int) -> frozenset[Change]:
        """Return what `deploy` would change."""
        with self._timed(f"plan {clients}"):
            return self.terraform.changes("plan", *_variables(clients), kind="planned_change")

    def initialise(self, state_bucket: str) -> None:
        """Tell Terraform where its state is, as `deploy` does."""
        where = (f"-backend-config=bucket={state_bucket}", f"-backend-config=region={REGION}")
        self.terraform.run("init", "-input=false", *where)

    def plan_in(self, vpc: str, subnets: list[str]) -> frozenset[Change]:
        """Return what `deploy` would make in a VPC that is there."""
        there = [f"-var=vpc_id={vpc}", f"-var=subnet_ids={json.dumps(subnets)}"]
        return self.terraform.changes("plan", *_variables(clients=3), *there, kind="planned_change")

    def deploy(self, state_bucket: str, clients: int) -> frozenset[Change]:
        """Make the site have so many client hosts, and return what was changed."""
        with self._timed(f"deploy {clients}"):
            return self._changes("deploy", "aws", "--infrastructure-only", *self._flags(state_bucket, clients))

    def destroy(self, state_bucket: str, clients: int) -> frozenset[Change]:
        """Remove everything, also the models, and return what was changed and removed."""
        with self._timed("destroy"):
            return self._changes("destroy", "--delete-models", *self._flags(state_bucket, clients))

    @property
    def inventory(self) -> Path:
        """The file that tells Ansible of the hosts."""
        return self.checkout / "infra" / "ansible" / "inventory" / "aws.json"

    def _flags(self, state_bucket: str, clients: int) -> list[str]:
        flags = [flag.removeprefix("-") for flag in _variables(clients)]
        flags[0] = f"var-file={self.terraform.folder}/example.tfvars"
        words = [word for flag in flags for word in (f"--{flag.partition('=')[0]}", flag.partition("=")[2])]
        return ["--yes", "--json", "--state-bucket", state_bucket, "--state-region", REGION, *words]

    def _changes(self, *words: str) -> frozenset[Change]:
        """Call `fedtier`, and return what it says it has changed."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "fedtier_cli.main", *words],
            cwd=self.checkout,
            env={**self.terraform.environment, "PYTHONPATH": str(self.checkout)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        facts = [json.loads(line) for line in done.stdout.splitlines()]
        done_facts = [fact for fact in facts if fact["event"] == "resource" and fact["state"] == "done"]
        return frozenset(Change(fact["address"], fact["action"]) for fact in done_facts)

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


def site_in(checkout: Path, cloud: Cloud, program: str, environment: dict[str, str]) -> Site:
    """Return a site that is deployed from a copy of this checkout in a folder, which must not be there yet."""
    for part in ("infra", *_PACKAGES):
        shutil.copytree(ROOT.parents[1] / part, checkout / part, ignore=_neither_ours_nor_secret)
    terraform = Terraform(program, checkout / "infra" / "terraform", environment | cloud.environment)
    return Site(cloud, checkout, terraform)


def _neither_ours_nor_secret(folder: str, names: list[str]) -> set[str]:
    return NOT_OURS(folder, names) | {"__pycache__", "secrets", "aws.json", "hosts.yml"}


def _variables(clients: int) -> list[str]:
    wanted = {"key_pair": KEY_PAIR, "number_of_clients": str(clients)}
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
