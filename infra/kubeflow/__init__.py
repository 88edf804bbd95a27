"""A federation as a pipeline of Kubeflow Pipelines."""
