"""The middle tier: checks updates, adds them up, forwards one partial sum per batch.

In: updates from clients, partials from workers further down. Out: partials to the
upstream, which is the master or another worker; answers to the senders once the
upstream has answered. `batch` is the core (what goes into which batch, who is told
what), `events` its words, `sealer` adds batches up, `forwarder` sends them, `follower` watches
the upstream's round, `aggregator` ties them together, `metrics` is what they count, and `app` is the HTTP side.
"""
