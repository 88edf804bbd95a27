"""The one room with Flask and gunicorn: what every aggregator's HTTP side shares.

In: requests. Out: documents, files and problems. `shell` builds the Flask app around
a tier, `observing` counts and logs what it does (`metrics`, and `tally` and `refusal_log`
for what is refused), `answers` turns refusals into answers, `intake` brings bodies to disk and has them
checked, `access` asks for tokens, `digests` reads digest fields, `models` keeps models on
disk, `pacing` tells clients how often to ask, `waiting` is where uploads wait, `statedir`
is the folder an aggregator owns, and `runner` runs it all under gunicorn.
"""
