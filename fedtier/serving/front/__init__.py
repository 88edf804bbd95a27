"""The front of a server: where everybody waits who has not sent a request yet, or has not read its answer.

In: connections. Out: requests, whose heads are complete, for the app in a thread; and the app's answers.

| | |
|---|---|
| `worker` | the poller, as gunicorn's worker |
| `peers`, `secure`, `heads` | one connection; TLS on it, in steps that end; what came of a head |
| `stages`, `deadlines` | what connections wait for, and until when |
| `limits`, `descriptors` | what is borne from them, as far as descriptors last |
| `exchange`, `flows`, `rates` | a request and its answer in a thread; their bytes, and how fast these have to move |
| `connection_watch`, `connection_metrics` | counts and logs whom all these let go of |
"""
