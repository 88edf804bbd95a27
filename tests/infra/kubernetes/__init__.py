"""What can be known of `infra/kubernetes` without a cluster.

In: what kustomize makes of each overlay, the Secrets that `secrets.sh` makes, `eks-cluster.yaml`. They are held against
the schemas of Kubernetes, against checkov, and against the rules in `rules`, each of which is shown to object.
"""
