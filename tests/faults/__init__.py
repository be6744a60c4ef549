"""Faults of machine and storage, each tried with a small run: what it printed, and whether it went on as before."""
