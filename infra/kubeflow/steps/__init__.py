"""What each task of the pipeline does, as plain Python that knows nothing of Kubeflow's SDK.

In: paths on the volume that all tasks share, addresses, settings. Out: shards and an initial model, objects of a
cluster, trained rounds in S3, and what of them is shown. Runs in the pipeline's image and on a developer's machine.
"""
