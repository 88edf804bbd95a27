"""The one room with Flask and gunicorn: what every aggregator's HTTP side shares.

In: requests. Out: documents, files and problems. What a request goes through, from the socket inwards:

| who connects | |
|---|---|
| `runner`, `options` | gunicorn with one process and many threads; the flags of every aggregator |
| `front` | a package: the poller in which all wait who have not sent a request yet, or have not read its answer |

| what is asked | |
|---|---|
| `shell`, `tier`, `answers` | the Flask app around a tier; what it asks of one; refusals as answers |
| `access`, `verify_keys` | who asks, by token and certificate; the keys that tokens are verified with |
| `shares`, `buckets`, `quota` | what one client may take of the server, and bodies of its disk |
| `uploads`, `intake`, `digests` | the way of an upload; its body on the way to disk, and its digest |
| `waiting` | where uploads wait until they are counted |
| `downloads`, `models` | large answers, the models on disk |
| `round_documents`, `pacing`, `unchanged` | the round for who asks; how often to ask; polls that find nothing new |
| `statedir` | the folder that an aggregator owns |

| what is told | |
|---|---|
| `observing`, `metrics` | what is counted and logged of requests |
| `refusals`, `refusal_log`, `summary_log`, `tally` | refused updates, told upstream; refused requests, in the log |
| `openapi`, `operations`, `schemas` | the OpenAPI document, and what it is made of |
"""
