"""Control of the sandbox from outside, which the real API does not have: faults, changes, figures."""
