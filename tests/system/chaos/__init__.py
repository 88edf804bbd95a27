"""Many rounds under random faults on all tiers at once, and a look at every round afterwards.

``python -m tests.system.chaos --minutes 60 --seed S`` runs it. `drawing` draws the faults of each round from the
seed, `scene` is the federation that they befall, `audit` looks at what was published, `peace` at what follows once
the faults have ended, with `leaks`, `excuses` at what no fault explains, and `run` puts it together.
"""
