"""Seeded rounds of faults: everything works at once while processes, servers, messages and the API fail.

`make chaos` runs them, `python -m chaos.proofs` shows that they can fail, docs/reliability.md has the figures.
"""
