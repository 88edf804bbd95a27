"""Model checking of all tiers together: the shipped cores, joined by a simulated network, disks and S3.

What is simulated are the shells alone, a file for each, which says which shipped one it follows. Threads are steps:
every thread of every process, every message under way and every clock offers the next thing that it would do, and a
schedule picks. `tree` puts it together, `claims` says what must hold, `test_tree` lets anything happen.

`test_disk` does so with the master's shipped shell, journal and recovery on a real disk, and a kill at any write.
That bugs are found is shown by planting some: `test_planted_bugs`, `test_planted_disk_bugs`.
"""
