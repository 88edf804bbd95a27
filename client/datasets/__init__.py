"""Data for clients: where it comes from, how it is split, how a client's part lies on disk.

`catalogue` has the data sets by name; `mnist`, `cifar10` and `tabular` load one each (`sources` has
places to get files from, `known_files` checks and caches them, `idx` and `tables` read them).
`partition` says by which of the `schemes` which examples go to whom (pure), `shards` writes and
reads what one client gets; `samples` are rows for the tabular data set. Out: NumPy arrays.
"""
