"""The one room with Flask and gunicorn: what every aggregator's HTTP side shares.

In: requests. Out: documents, files and problems. `shell` builds the Flask app around
a tier, `answers` turns refusals into answers, `intake` brings bodies to disk and has them
checked, `access` asks for tokens, `digests` reads digest fields, `models` keeps models on
disk, `pacing` tells clients how often to ask, `waiting` is where uploads wait, `statedir`
is the folder an aggregator owns, `quota` says what bodies may take of its disk, `shares` and
`buckets` what one client may take of the server, and `runner` runs it all under gunicorn.
"""
