"""The first tier: trains on its own data and uploads the update.

In: the round and its model, from the server one tier up; a shard of examples, from
this machine's disk. Out: one update per round, as a safetensors file, and facts
about it for whoever started the client.

`participant` decides (`events` in, decisions out, no network, clock or disk), `performer`
performs, `run` lets several clients of one process take turns. `transport` asks the server
and tries again, `metrics` is what they count, `updates` and `models` keep files, `task` says what a client trains,
`training` takes a task through one round.
Tasks lie in `tasks`, data in `datasets`. Only `tasks` needs torch.
"""
