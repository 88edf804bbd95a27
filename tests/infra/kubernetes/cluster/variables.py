"""The environment and the words that a container starts with, put together as the kubelet does it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from tests.infra.kubernetes.cluster.objects import ConfigMap, Objects, Secret
from tests.infra.kubernetes.cluster.pod_spec import Container, KeyRef, ValueFrom
from tests.infra.kubernetes.cluster.pods import Pod
from tests.infra.kubernetes.expansion import expanded

_OF_METADATA: Final = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def environment(pod: Pod, container: Container, objects: Objects, links: Mapping[str, str]) -> dict[str, str]:
    """Return a container's variables.

    Parameters
    ----------
    pod : Pod
    container : Container
        One of its.
    objects : Objects
        Where ConfigMaps and Secrets are found.
    links : Mapping of str to str
        What Services bring into every pod that does not decline it.

    Notes
    -----
    Those of ``envFrom`` come first, then each of ``env``, expanded by what stands before it; links come last.

    Raises
    ------
    ValueError
        Something that is referred to is not there: the real container would not start.
    """
    found: dict[str, str] = {}
    for source in container.env_from:
        for kind, reference in ((ConfigMap, source.config_map_ref), (Secret, source.secret_ref)):
            if reference is not None:
                whole = contents(objects, kind, reference.name, optional=reference.optional)
                found |= {source.prefix + key: value.decode() for key, value in whole.items()}
    for variable in container.env:
        if variable.value_from is None:
            found[variable.name] = expanded(variable.value, {**links, **found})
        elif (value := _value(variable.value_from, pod, objects)) is not None:
            found[variable.name] = value
    return {**links, **found} if pod.spec.enable_service_links else found


def contents(objects: Objects, kind: type[ConfigMap | Secret], name: str, *, optional: bool) -> dict[str, bytes]:
    """Return what a ConfigMap or Secret holds.

    Raises
    ------
    ValueError
        It is not there, and not optional.
    """
    found = objects.get(kind, name)
    if found is None:
        if optional:
            return {}
        raise ValueError(f"there is no {kind.__name__} {name}")
    return found.contents


def service_links(addresses: Mapping[str, tuple[str, tuple[int, ...]]]) -> Iterator[tuple[str, str]]:
    """Yield the variables that Services bring: by name, their address and ports."""
    for name, (address, ports) in addresses.items():
        prefix = name.upper().replace("-", "_")
        yield f"{prefix}_SERVICE_HOST", address
        yield f"{prefix}_SERVICE_PORT", str(ports[0])
        yield f"{prefix}_PORT", f"tcp://{address}:{ports[0]}"
        for port in ports:
            yield f"{prefix}_PORT_{port}_TCP", f"tcp://{address}:{port}"
            yield f"{prefix}_PORT_{port}_TCP_PROTO", "tcp"
            yield f"{prefix}_PORT_{port}_TCP_PORT", str(port)
            yield f"{prefix}_PORT_{port}_TCP_ADDR", address


def _value(source: ValueFrom, pod: Pod, objects: Objects) -> str | None:
    if source.field_ref is not None:
        return _field(pod, source.field_ref.field_path)
    if source.config_map_key_ref is not None:
        return _key(objects, ConfigMap, source.config_map_key_ref)
    if source.secret_key_ref is not None:
        return _key(objects, Secret, source.secret_key_ref)
    raise ValueError("a variable says neither its value nor where it stands")


def _key(objects: Objects, kind: type[ConfigMap | Secret], wanted: KeyRef) -> str | None:
    found = contents(objects, kind, wanted.name, optional=wanted.optional).get(wanted.key)
    if found is None and not wanted.optional:
        raise ValueError(f"{kind.__name__} {wanted.name} has no key {wanted.key}")
    return None if found is None else found.decode()


def _field(pod: Pod, path: str) -> str:
    if found := _OF_METADATA.fullmatch(path):
        return (pod.labels if found[1] == "labels" else pod.annotations).get(found[2], "")
    plain = {"metadata.name": pod.name, "metadata.namespace": pod.namespace}
    if path not in plain:
        raise ValueError(f"this cluster does not know the field {path} of a pod")
    return plain[path]
