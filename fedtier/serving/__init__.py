"""The one room with Flask and gunicorn: what every aggregator's HTTP side shares.

In: requests. Out: documents, files and problems. `shell` builds the Flask app around
a tier, `observing` counts and logs what it does (`metrics`, and `refusal_log`, `summary_log`
and `tally` for what is refused), `answers` turns refusals into answers, `intake` brings bodies to disk and has them
checked, `access` asks for tokens, `digests` reads digest fields, `models` keeps models on
disk, `pacing` tells clients how often to ask, `waiting` is where uploads wait, `statedir`
is the folder an aggregator owns, `quota` says what bodies may take of its disk, `shares` and
`buckets` what one client may take of the server, and `runner` runs it all under gunicorn.

Whoever connects meets the `front`: one poller for all who have not sent a request yet, or have not read
its answer. `peers` are their connections, `heads` what they sent so far, `stages` what they wait for, `deadlines`
until when they may, and `limits` what is borne from them, as far as `descriptors` last. `exchange` answers a request in
a thread; `flows` move its bytes, at a rate that `rates` watches. `connection_watch` counts (`connection_metrics`) and
logs whom all these let go of.
"""
