"""The console script `fedtier`: starts and watches the tiers, so it stands above them.

In: command-line flags and ``FEDTIER_*`` variables. Out: running processes (a master,
a worker, a client, a whole federation on this machine with its own S3 server), and
facts for people or, with ``--json``, for programs.
"""
