"""Tasks that come with the client, one file each, and `torch_task`, which makes one of a torch module.

`descent` moves a module's weights, `confusion` counts what it takes for what, and
`digits` is what the tasks on MNIST have in common.

In: the path of a client's data. Out: a `client.task.Task`. This package alone
imports torch, and nothing imports this package but `client.task.load_task`, by name.
"""
