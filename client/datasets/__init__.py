"""Data for clients: where it comes from, how it is split, how a client's part lies on disk.

`mnist` loads MNIST (`sources` has places to get files from, `known_files` checks and
caches them, `idx` reads them), `partition` says which examples go to whom (pure),
`shards` writes and reads what one client gets. Out: NumPy arrays.
"""
