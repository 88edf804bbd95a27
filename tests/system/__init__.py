"""Whole federations: real processes, a real S3 server, real bytes.

`federation` starts and ends the processes, `updates` makes what clients send and
predicts what comes of it by `tests.reference`. Each test file is one promise.
"""
