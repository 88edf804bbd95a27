"""A small cluster of Kubernetes for tests: real manifests, real images, real processes, in podman.

In: objects as kustomize and kubectl print them. Out: pods that run, Services that lead to those that are ready, Jobs
that try again; objects that are removed take their pods with them. What is pure (`objects`, `pods`, `pod_state`,
`variables`, `containers`, `jobs`, `control`) decides by `actions`; `kubelet`, `network`, `node` and `cluster` act.
What nothing comes of here is marked so in `pod_spec` and `objects`, with the reason, and whatever else is not known is
an error.
"""

from tests.infra.kubernetes.cluster.cluster import Cluster

__all__ = ["Cluster"]
