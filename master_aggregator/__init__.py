"""The top tier: counts contributors, closes the round, runs FedAvg, publishes to S3.

In: partials from workers and updates from clients. Out: one round model after the
other in S3. `planning` opens rounds, `coordinator` is the core (what is counted, when
the round closes), `journal` makes what was counted durable (`records` are its JSON
files), `recorder` is the thread that journals and adds, `server_update` turns the sum
into a model, `closing` makes what is to be published of a round, `publisher` is the
thread that closes and publishes rounds, `copying` the one that renews the copy at the
bucket key, `insisting` their patience with S3 and disk, `recovery` finds out at start
where an earlier process stopped, `stillness` tells when to warn of a round that nobody joins, `history`
finds published rounds, `aggregator` ties them together, `metrics` is what they count,
and `app` is the HTTP side.
"""
