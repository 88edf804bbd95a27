"""A federation in pods: the overlay for minikube as it is, with the images of the Dockerfile as it is.

`federation` is what its user does: settings and Secrets. `course` lives through a training, in which pods are killed,
and keeps what was seen; `test_kubernetes` says what that must have been.
"""
