"""Model checking of all tiers together: the shipped cores, joined by a simulated network, disks and S3.

What is simulated are the shells alone, one file for each, and each says which shipped one it follows. Threads are
steps: every thread of every process, every message under way and every clock offers the next thing that it would
do, and a schedule picks. `tree` puts it together, `claims` says what must hold, `test_tree` lets anything happen,
`test_planted_bugs` shows that a bug would be found.
"""
