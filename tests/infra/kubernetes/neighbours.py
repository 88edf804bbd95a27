"""Who else there is, when NetworkPolicies are asked whom they let through."""

from __future__ import annotations

from typing import Final

from tests.infra.kubernetes.network import End

NAMESPACE: Final = "fedtier"
STRANGER: Final = End("a stranger in the namespace", "10.244.0.200", NAMESPACE)
DNS: Final = End("DNS", "10.244.1.2", "kube-system", {"k8s-app": "kube-dns"})
PUBLIC: Final = End("the internet", "198.51.100.7")
POD_IDENTITY: Final = End("Pod Identity", "169.254.170.23")
OUTSIDE: Final = [
    DNS,
    PUBLIC,
    POD_IDENTITY,
    End("a neighbour of DNS", "10.244.1.3", "kube-system"),
    End("a pod elsewhere", "10.244.2.9", "default"),
    End(
        "the likes of a client elsewhere",
        "10.244.2.10",
        "default",
        {"app.kubernetes.io/name": "fedtier", "app.kubernetes.io/component": "client"},
    ),
    End("the instance's metadata", "169.254.169.254"),
    End("a node", "192.168.1.9"),
    End("the network 10", "10.9.9.9"),
    End("the network 172.16", "172.16.9.9"),
    End("the network 100.64", "100.64.9.9"),
]
"""Whatever lies beyond the namespace."""
