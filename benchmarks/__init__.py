"""Measurements, run by hand: ``python -m benchmarks.<name>``. They print figures and judge nothing."""
