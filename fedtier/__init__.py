"""What the tiers share; imports no tier.

In: bytes of safetensors files and JSON documents. Out: checked tensors (`tensors`,
`header`, `dtypes`), exact sums of them in memory (`kinds`, `exact`, made of `terms` and
`limbs`; `bounds`, `magnitudes`, `wire`) and of files (`entry_sums`, `sum_files`), what an
aggregator receives (`entries`, `admission`), the documents that travel and are published
(`rounds`, made of `documents` and `fields`), the S3 side (`store`, `round_keys`),
refusals (`problems`), where a test may let a process die (`crash_points`), signed
tokens (`tokens`, `claims`, `revocations`; `token_sources` for who presents one),
certificates (`tls`, `certificates`, `tls_failures`), the HTTP client
(`upstream`, made of `sessions` and `connections`) and server (`serving`) sides, and what
commands share (`flags`, `logs`, `urls`). What programs count for Prometheus is in
`metrics`, and may be served on a port of its own (`metrics_listener`); `reminders` says
when to repeat a log line, `plain_text` what of it may reach a terminal.
"""
