"""Measurements, run by hand: ``python -m benchmarks.<name>``.

`round`, `matrix`, `profiles`, `scale`, `halves` and `peers` write JSON into ``results``; `report` and `sizing` make
pages of it: `recorded` reads the folder, `targets` judges it, `tables` and `pictures` show it. What is measured are
the rounds of `federation`, `barrier`, `exchange` and `updates`, or the load of ``scale_*``; `reference_sum` says what
has to come out.
"""
