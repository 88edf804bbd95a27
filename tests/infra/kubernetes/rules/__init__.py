"""What Kubernetes does not check when manifests are applied, or only when it is too late.

A rule takes the manifests and yields a sentence for each thing that is wrong; one idea per file. `test_rules.py` has,
for each, manifests at which it has to object.
"""
