"""Programs that run in the other systems' virtual environments, with the checkout on their path.

They know the standard library, NumPy, the system that they are for, `benchmarks.barrier` and `benchmarks.peers.work`.
"""
