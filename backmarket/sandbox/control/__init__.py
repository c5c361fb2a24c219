"""Steering the sandbox from outside, which the real API has nothing of: faults, changes, figures."""
