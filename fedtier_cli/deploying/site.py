"""A federation on other machines: which host does what, how it is reached, and where its secrets lie on this one.

The inventory is read by Ansible alone; ``playbooks/site.yml`` prints what follows from it, so that defaults and derived
values stand in one place.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError, field_validator, model_validator

from fedtier.documents import Lenient, first_error
from fedtier.problems import StartupError
from fedtier_cli.deploying.playbooks import Playbooks
from fedtier_cli.deploying.plays import HostDone, PlayEvent

_TASK: Final = "site"
_SECONDS: Final = 120.0
_ENDPOINT: Final = "AWS_ENDPOINT_URL_S3"
_USUAL_OPTIONS: Final = (
    *("-o", "BatchMode=yes"),
    *("-o", "ConnectTimeout=10"),
    *("-o", "StrictHostKeyChecking=accept-new"),
    # A host that lost its power closes no connection.
    *("-o", "ServerAliveInterval=5"),
    *("-o", "ServerAliveCountMax=3"),
)


class Ssh(Lenient):
    """How a host is reached from this machine.

    Parameters
    ----------
    host : str
    port : int or None
    user : str or None
        The user's own settings decide where there is none; so they do about the port.
    key : Path or None
    options : tuple of str
        More arguments for ``ssh``; they win over ours.
    """

    host: str
    port: int | None = None
    user: str | None = None
    key: Path | None = None
    options: tuple[str, ...] = ()

    @field_validator("options", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(shlex.split(value)) if isinstance(value, str) else value

    @field_validator("port", "user", "key", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @field_validator("host", "user")
    @classmethod
    def _is_no_option(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("-"):
            raise ValueError(f"{value!r} starts with a dash, as the options of ssh do; wanted a name or an address")
        return value

    @property
    def at(self) -> str:
        """Where the host is reached, for a person."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    def arguments(self) -> list[str]:
        """Return the arguments of ``ssh`` for key and port."""
        key = [] if self.key is None else ["-i", str(self.key)]
        port = [] if self.port is None else ["-p", str(self.port)]
        return [*key, *port]

    @property
    def place(self) -> str:
        """``user@host``, or the host alone."""
        return self.host if self.user is None else f"{self.user}@{self.host}"


class Host(Lenient):
    """A machine of the federation.

    Parameters
    ----------
    name : str
        In the inventory.
    address : str
        By which other members reach it.
    ssh : Ssh
    groups : tuple of str
        Of the inventory: ``master_aggregator``, ``clients``, ...
    client_ids : tuple of str
        Clients that run there.
    """

    name: str
    address: str
    ssh: Ssh
    groups: tuple[str, ...] = ()
    client_ids: tuple[str, ...] = ()

    def ssh_command(self, *words: str) -> list[str]:
        """Return a call that runs a command there, asks nothing, and ends soon when the host is away.

        Parameters
        ----------
        words : str
            The command and its arguments; none opens a shell.
        """
        # Of an option that is given twice, ssh takes the first.
        call = ["ssh", *self.ssh.options, *_USUAL_OPTIONS, *self.ssh.arguments(), "--", self.ssh.place]
        return [*call, shlex.join(words)] if words else call

    def ssh_tunnel(self, port: int) -> list[str]:
        """Return a call for a person, who can be asked, that brings a port of the host's own to this machine."""
        forward = ["-N", "-L", f"{port}:127.0.0.1:{port}"]
        return ["ssh", *self.ssh.options, *self.ssh.arguments(), *forward, self.ssh.place]


class Site(Lenient):
    """Everything that follows from an inventory.

    Parameters
    ----------
    federation : str
        Its name, which tokens carry.
    server_url, master_url : str
        Where clients upload, and where the master answers.
    bucket_name, bucket_key : str
        Where rounds are published.
    task : str
        The model that clients train.
    threshold : int
        Clients that a round waits for.
    aws : Mapping of str to str
        ``AWS_REGION``, and ``AWS_ENDPOINT_URL_S3`` where S3 is the site's own; no credentials.
    secrets_dir : Path
        On this machine: authority, keys, tokens, S3 credentials.
    hosts : tuple of Host
    """

    federation: str
    server_url: str
    master_url: str
    bucket_name: str
    bucket_key: str
    task: str
    threshold: int
    aws: Mapping[str, str]
    secrets_dir: Path
    hosts: tuple[Host, ...]

    @model_validator(mode="before")
    @classmethod
    def _name_hosts(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("hosts"), dict):
            hosts = data["hosts"].items()
            return {
                **data,
                "hosts": [{**host, "name": name} if isinstance(host, dict) else host for name, host in hosts],
            }
        return data

    @property
    def ca_certs(self) -> Path:
        """The certificate of the site's authority, which signed those of all servers."""
        return self.secrets_dir / "authority" / "ca.pem"

    @property
    def operator_token_file(self) -> Path:
        """A token with which to ask servers how they are."""
        return self.secrets_dir / "tokens" / "operator.token"

    @property
    def clients(self) -> dict[str, str]:
        """The host of each client, by the client's id, in the inventory's order."""
        return {client: host.name for host in self.hosts for client in host.client_ids}

    def host(self, name: str) -> Host:
        """Return the host of this name.

        Raises
        ------
        KeyError
        """
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    def group(self, name: str) -> tuple[Host, ...]:
        """Return the hosts of a group, in the inventory's order."""
        return tuple(host for host in self.hosts if name in host.groups)

    def s3_environment(self) -> dict[str, str]:
        """Return AWS variables with which programs here reach the site's bucket.

        Where S3 is AWS' own, that is the region alone: who calls has credentials of their own.

        Raises
        ------
        StartupError
            The site has its own S3, and its credentials are not on this machine.
        """
        if not self.aws.get(_ENDPOINT):
            return {name: value for name, value in self.aws.items() if value}
        path = self.secrets_dir / "s3.json"
        try:
            pair = json.loads(path.read_bytes())
            access_key, secret_key = str(pair["access_key"]), str(pair["secret_key"])
        except FileNotFoundError:
            raise StartupError(
                f"the S3 credentials {path} are not there; set the hosts up first, by infra/ansible/init.sh or "
                "fedtier deploy hosts, or bring the folder from the machine where that was done"
            ) from None
        except (OSError, ValueError, KeyError, TypeError):
            raise StartupError(
                f"the S3 credentials {path} cannot be read as an object with access_key and secret_key; bring back the "
                "file, or delete it and set the hosts up again"
            ) from None
        return {
            **self.aws,
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_CA_BUNDLE": str(self.ca_certs),
        }


def read_site(playbooks: Playbooks) -> Site:
    """Ask Ansible what follows from an inventory; reaches no host.

    Raises
    ------
    StartupError
        The inventory is no good.
    """
    found: list[Any] = []

    def see(event: PlayEvent) -> None:
        if isinstance(event, HostDone) and event.task == _TASK:
            found.append(event.result.get("site", event.result.get("msg")))

    playbooks.run("site", timeout=_SECONDS, see=see)
    if not found:
        raise StartupError(f"playbooks/site.yml says nothing of {playbooks.inventory}; is the checkout whole?")
    site = site_of(found[-1], playbooks.inventory)
    if playbooks.key_path is None:
        return site
    hosts = tuple(_with_key(host, playbooks.key_path) for host in site.hosts)
    return site.model_copy(update={"hosts": hosts})


def site_of(value: object, inventory: Path) -> Site:
    """Return what ``site.yml`` printed as a value.

    Raises
    ------
    StartupError
        Something is missing, or of another kind.
    """
    try:
        site = Site.model_validate(value)
    except ValidationError as error:
        raise StartupError(f"the inventory {inventory} gives no federation: {first_error(error)}; mend it") from None
    masters = site.group("master_aggregator")
    if len(masters) != 1:
        raise StartupError(
            f"the inventory {inventory} has {len(masters)} hosts in the group master_aggregator; put exactly one there"
        )
    ids = [client for host in site.hosts for client in host.client_ids]
    twice = next((client for client in ids if ids.count(client) > 1), None)
    if twice is not None:
        raise StartupError(
            f"the inventory {inventory} has the client {twice!r} on more than one host; give each its own client_ids"
        )
    return site


def _with_key(host: Host, key: Path) -> Host:
    """Return a host with a key, unless the inventory names one: for Ansible, too, that counts more than the flag."""
    return (
        host if host.ssh.key is not None else host.model_copy(update={"ssh": host.ssh.model_copy(update={"key": key})})
    )
