"""What a round costs in what does not vary with the machine: bytes, calls, syncs, requests and fresh pages.

Real processes play some rounds, and are looked at from outside while every client stands still in its training:
what the kernel counted of each process (`meters`), its syncs (`syncs`), and what passed between two tiers (`taps`).
What each tier may spend stands in one table, with the reason (`allowances`).
"""
