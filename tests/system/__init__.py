"""Whole federations: real processes, a real S3 server, real bytes.

`federation` starts and ends the processes, `updates` makes what clients send and predicts what comes of it by
`tests.reference`. `faults` has what a test can declare to go wrong; `tree` is a federation that it befalls: with
`ways` between its tiers, on which `mishaps` happen and a `ledger` is kept, and `keepers` that start again what ends.
`crashing` runs programs that die at crash points. `chaos` draws faults at random. Each test file is one promise.
"""
