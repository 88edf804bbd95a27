"""A simulated AWS for the time of a `with` block: who may do what in it, and what there is."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from fedtier_cli.seaweed import HOST, free_ports
from tests.masters import wait_until

REGION: Final = "ap-northeast-2"
KEY_PAIR: Final = "lab"
_CHECKOUT: Final = Path(__file__).parents[3]
_IMAGES: Final = Path(__file__).with_name("images.json")
_PATIENCE: Final = 60.0
"""Seconds in which the simulator starts on the busiest machine."""

_LISTS: Final[Mapping[str, tuple[tuple[str, str, str], ...]]] = {
    "ec2": (
        ("describe_vpcs", "Vpcs", "VpcId"),
        ("describe_subnets", "Subnets", "SubnetId"),
        ("describe_security_groups", "SecurityGroups", "GroupId"),
        ("describe_security_group_rules", "SecurityGroupRules", "SecurityGroupRuleId"),
        ("describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
        ("describe_route_tables", "RouteTables", "RouteTableId"),
        ("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
        ("describe_volumes", "Volumes", "VolumeId"),
        ("describe_addresses", "Addresses", "AllocationId"),
        ("describe_key_pairs", "KeyPairs", "KeyName"),
    ),
    "elbv2": (
        ("describe_load_balancers", "LoadBalancers", "LoadBalancerArn"),
        ("describe_target_groups", "TargetGroups", "TargetGroupArn"),
    ),
    "iam": (
        ("list_roles", "Roles", "Arn"),
        ("list_instance_profiles", "InstanceProfiles", "Arn"),
        ("list_users", "Users", "Arn"),
    ),
    "s3": (("list_buckets", "Buckets", "Name"),),
}
"""What lists what there is, by services. Network interfaces are not here: they come with hosts, and go with them."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """A running simulator."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which any program takes it for AWS; its account is the caller's."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "anybody",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "2",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, service: str, credentials: Mapping[str, str] | None = None) -> Any:
        """Return a client of the account's owner, or of whoever has the credentials."""
        credentials = credentials or {"AccessKeyId": "anybody", "SecretAccessKey": "anything"}
        session: Any = boto3.session.Session(
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials.get("SessionToken"),
            region_name=REGION,
        )
        return session.client(service, endpoint_url=self.endpoint, config=Config(retries={"total_max_attempts": 2}))

    def credentials_of(self, role: str) -> Mapping[str, str]:
        """Return the keys that a host gets with its role."""
        arn = self.client("iam").get_role(RoleName=role)["Role"]["Arn"]
        answer = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="host")
        return dict(answer["Credentials"])

    @contextlib.contextmanager
    def policies_count(self) -> Iterator[None]:
        """Refuse, for the time of the block, what no policy allows; otherwise anybody may do anything."""
        self._allow_first(b"0")
        try:
            yield
        finally:
            self._allow_first(b"inf")

    def _allow_first(self, requests: bytes) -> None:
        kind = {"Content-Type": "text/plain"}  # as a form it would not be read
        request = urllib.request.Request(f"{self.endpoint}/moto-api/reset-auth", requests, kind, method="POST")
        with urllib.request.urlopen(request) as answer:
            answer.read()

    def everything(self) -> frozenset[str]:
        """Return the ids of all that there is, of the kinds that cost something or let somebody in."""
        found: set[str] = set()
        for service, lists in _LISTS.items():
            client = self.client(service)
            for operation, member, identity in lists:
                things = getattr(client, operation)()[member]
                # An endpoint that was deleted is listed for a while.
                found |= {f"{service} {thing[identity]}" for thing in things if thing.get("State") != "deleted"}
        return frozenset(found | {f"ec2 {instance['InstanceId']}" for instance in self.instances().values()})

    def default_network(self) -> tuple[str, list[str]]:
        """Return the id of the VPC that every account has, and of its subnets."""
        subnets = self.client("ec2").describe_subnets()["Subnets"]
        default = [subnet for subnet in subnets if subnet["DefaultForAz"]]
        return default[0]["VpcId"], [subnet["SubnetId"] for subnet in default]

    def instances(self) -> dict[str, Mapping[str, Any]]:
        """Return the instances that there are, by their names."""
        pages = self.client("ec2").get_paginator("describe_instances").paginate()
        instances = [one for page in pages for group in page["Reservations"] for one in group["Instances"]]
        return {
            next(tag["Value"] for tag in instance["Tags"] if tag["Key"] == "Name"): instance
            for instance in instances
            if instance["State"]["Name"] != "terminated"
        }


def is_allowed(attempt: Callable[[], object]) -> bool:
    """Return whether AWS does what it is asked, or refuses it for want of a right."""
    try:
        attempt()
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 403:
            raise
        return False
    return True


@contextlib.contextmanager
def running_cloud(log: Path) -> Iterator[Cloud]:
    """Start a simulator with one image of Ubuntu and one key pair, as an account has them."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.infra.aws.simulator", "--host", HOST, "--port", str(port)]
    surroundings = {**os.environ, "MOTO_AMIS_PATH": str(_IMAGES)}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=_CHECKOUT, env=surroundings, stdin=subprocess.PIPE, stdout=output, stderr=output
        ) as process,
    ):
        try:
            cloud = Cloud(f"http://{HOST}:{port}")
            _await(cloud, process, log)
            cloud.client("ec2").create_key_pair(KeyName=KEY_PAIR)
            yield cloud
        finally:
            process.terminate()


def _await(cloud: Cloud, process: subprocess.Popen[bytes], log: Path) -> None:
    def has_ended_or_answers() -> bool:
        if process.poll() is not None:
            return True
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{cloud.endpoint}/moto-api/data.json"):
            return True
        return False

    wait_until(has_ended_or_answers, patience=_PATIENCE)
    if process.poll() is not None:
        raise RuntimeError(f"the simulator does not run:\n{log.read_text()}")
