"""What a pod is to be: the fields of a pod's template that our manifests may use.

This is the one place that says what is not applied. All else is, by podman or by what stands in this package.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tests.infra.kubernetes.cluster.fields import NotApplied, Read

_ONE_NODE = "there is one node, and nothing else on it"


class KeyRef(Read):
    """A key of a ConfigMap or Secret."""

    name: str
    key: str
    optional: bool = False


class FieldRef(Read):
    """A field of the pod itself."""

    field_path: str
    api_version: str = "v1"


class ValueFrom(Read):
    """Where a variable's value stands."""

    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None
    field_ref: FieldRef | None = None


class Variable(Read):
    """A variable of the environment."""

    name: str
    value: str = ""
    value_from: ValueFrom | None = None


class ObjectRef(Read):
    """A ConfigMap or Secret as a whole."""

    name: str
    optional: bool = False


class EnvFrom(Read):
    """All keys of an object as variables."""

    config_map_ref: ObjectRef | None = None
    secret_ref: ObjectRef | None = None
    prefix: str = ""


class ContainerPort(Read):
    """A port that a container listens on."""

    name: str = ""
    container_port: int
    protocol: Literal["TCP"] = "TCP"


class HttpGet(Read):
    """What a probe asks; like the kubelet, without looking at the certificate."""

    path: str = "/"
    port: int | str
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"


class TcpSocket(Read):
    """A probe that only connects."""

    port: int | str


class Probe(Read):
    """How it is found out whether a container has started, lives, or is ready."""

    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3


class Sleep(Read):
    """A pause before SIGTERM."""

    seconds: int


class PreStop(Read):
    """What goes before SIGTERM."""

    sleep: Sleep


class Lifecycle(Read):
    """What goes with a container's end."""

    pre_stop: PreStop


class Limits(Read):
    """What a container may take."""

    memory: str | None = None
    cpu: str | None = None
    ephemeral_storage: Annotated[str | None, NotApplied("a kubelet measures it now and then, and evicts")] = Field(
        None, alias="ephemeral-storage"
    )


class Resources(Read):
    """What a container needs, and may take."""

    requests: Annotated[Any, NotApplied(_ONE_NODE)] = None
    limits: Limits = Limits()


class Capabilities(Read):
    """What of root's rights a container has."""

    drop: tuple[str, ...] = ()
    add: tuple[str, ...] = ()


class SeccompProfile(Read):
    """Which system calls a container may make; podman's own profile is its runtime's default."""

    type: Literal["RuntimeDefault", "Unconfined"]


class SecurityContext(Read):
    """What a container may do."""

    allow_privilege_escalation: bool = True
    capabilities: Capabilities = Capabilities()
    privileged: Literal[False] = False
    read_only_root_filesystem: bool = False
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    run_as_user: int | None = None
    seccomp_profile: SeccompProfile | None = None


class PodSecurityContext(Read):
    """What all containers of a pod may do, and which group their volumes have."""

    fs_group: int | None = None
    fs_group_change_policy: Annotated[str, NotApplied("volumes are small, and all of them are given the group")] = ""
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    run_as_user: int | None = None
    seccomp_profile: SeccompProfile | None = None
    supplemental_groups: tuple[int, ...] = ()


class VolumeMount(Read):
    """Where a container sees a volume, or one path of it."""

    name: str
    mount_path: str
    read_only: bool = False
    sub_path: str = ""
    sub_path_expr: str = ""


class Container(Read):
    """A container of a pod."""

    name: str
    image: str
    image_pull_policy: Annotated[str, NotApplied("images are there, and nothing is pulled")] = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[Variable, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    resources: Resources = Resources()
    volume_mounts: tuple[VolumeMount, ...] = ()
    working_dir: str = ""
    security_context: SecurityContext = SecurityContext()
    lifecycle: Lifecycle | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None


class KeyToPath(Read):
    """A key of an object, and the name of its file."""

    key: str
    path: str
    mode: int | None = None


class SecretSource(Read):
    """A Secret as files."""

    secret_name: str
    default_mode: int = 0o644
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False


class ConfigMapSource(Read):
    """A ConfigMap as files."""

    name: str
    default_mode: int = 0o644
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False


class EmptyDir(Read):
    """A folder that lives as long as its pod."""

    medium: Literal["", "Memory"] = ""
    size_limit: str | None = None


class ClaimRef(Read):
    """A volume that outlives its pod."""

    claim_name: str
    read_only: bool = False


class Volume(Read):
    """A volume of a pod: one of its members says of which kind."""

    name: str
    secret: SecretSource | None = None
    config_map: ConfigMapSource | None = None
    empty_dir: EmptyDir | None = None
    persistent_volume_claim: ClaimRef | None = None


class PodSpec(Read):
    """A pod."""

    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"
    security_context: PodSecurityContext = PodSecurityContext()
    service_account_name: str = "default"
    automount_service_account_token: Literal[False]
    """There is no API that a token would be good for; a pod that does not refuse it is none of ours."""

    enable_service_links: bool = True
    termination_grace_period_seconds: int = 30
    node_selector: Annotated[Any, NotApplied(_ONE_NODE)] = None
    priority_class_name: Annotated[str, NotApplied(_ONE_NODE)] = ""
    tolerations: Annotated[Any, NotApplied(_ONE_NODE)] = None
    topology_spread_constraints: Annotated[Any, NotApplied(_ONE_NODE)] = None

    @property
    def claims(self) -> frozenset[str]:
        """The names of the claims that it has."""
        found = (volume.persistent_volume_claim for volume in self.volumes)
        return frozenset(claim.claim_name for claim in found if claim is not None)
