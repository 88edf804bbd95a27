"""Pods as workloads make them of their templates: names, volumes and indexes of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tests.infra.kubernetes.cluster.objects import Deployment, Job, PodTemplate, StatefulSet
from tests.infra.kubernetes.cluster.pod_spec import ClaimRef, Container, FieldRef, PodSpec, ValueFrom, Variable, Volume

INDEX: Final = "batch.kubernetes.io/job-completion-index"
INDEX_VARIABLE: Final = "JOB_COMPLETION_INDEX"


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod.

    Parameters
    ----------
    name : str
    owner : str
        The name of the workload that made it.
    spec : PodSpec
    namespace : str
    labels, annotations : Mapping of str to str
    index : int or None
        Its place in a Job.
    host : str
        The name that it has for itself, where that is not its own.
    """

    name: str
    owner: str
    spec: PodSpec = field(repr=False)
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    index: int | None = None
    host: str = ""

    @property
    def hostname(self) -> str:
        """Return the name that it has for itself."""
        return self.host or self.name

    def container(self, name: str) -> Container:
        """Return one of its containers."""
        return next(one for one in (*self.spec.init_containers, *self.spec.containers) if one.name == name)


def deployed_pods(deployment: Deployment, endings: tuple[str, ...]) -> list[Pod]:
    """Return a Deployment's pods; each has an ending of its own."""
    name = deployment.metadata.name
    return [_pod(deployment, deployment.spec.template, f"{name}-{ending}") for ending in endings]


def stateful_pods(stateful: StatefulSet) -> list[Pod]:
    """Return a StatefulSet's pods, each with claims of its own."""
    pods = []
    for number in range(stateful.spec.replicas):
        name = f"{stateful.metadata.name}-{number}"
        claims = tuple(
            Volume(
                name=template.metadata.name,
                persistent_volume_claim=ClaimRef(claim_name=f"{template.metadata.name}-{name}"),
            )
            for template in stateful.spec.volume_claim_templates
        )
        pods.append(_pod(stateful, stateful.spec.template, name, claims))
    return pods


def job_pod(job: Job, index: int, ending: str) -> Pod:
    """Return a pod of a Job; one of an Indexed Job has the index in a label, an annotation, and a variable.

    Its name for itself does not change from try to try then. The variable comes behind those of the template, as the
    Job controller has it: theirs cannot refer to it unless they bring it themselves.
    """
    name = job.metadata.name
    if job.spec.completion_mode == "NonIndexed":
        return replace(_pod(job, job.spec.template, f"{name}-{ending}"), index=index)
    made = _pod(job, job.spec.template, f"{name}-{index}-{ending}")
    own = Variable(
        name=INDEX_VARIABLE, value_from=ValueFrom(field_ref=FieldRef(field_path=f"metadata.annotations['{INDEX}']"))
    )
    spec = made.spec.model_copy(
        update={
            "containers": tuple(_with_variable(one, own) for one in made.spec.containers),
            "init_containers": tuple(_with_variable(one, own) for one in made.spec.init_containers),
        }
    )
    indexed = {INDEX: str(index)}
    labels, annotations = {**made.labels, **indexed}, {**made.annotations, **indexed}
    return Pod(made.name, made.owner, spec, made.namespace, labels, annotations, index, host=f"{name}-{index}")


def _pod(
    owner: Deployment | StatefulSet | Job, template: PodTemplate, name: str, claims: tuple[Volume, ...] = ()
) -> Pod:
    spec = template.spec.model_copy(update={"volumes": (*claims, *template.spec.volumes)})
    return Pod(
        name,
        owner.metadata.name,
        spec,
        owner.metadata.namespace,
        template.metadata.labels,
        template.metadata.annotations,
    )


def _with_variable(container: Container, variable: Variable) -> Container:
    if any(one.name == variable.name for one in container.env):
        return container
    return container.model_copy(update={"env": (*container.env, variable)})
