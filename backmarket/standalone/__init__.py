"""Backmarket on one machine, with nothing installed beside it: servers from wheels, processes, the demo, `make up`."""
