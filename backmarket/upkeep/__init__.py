"""Periodic upkeep: partitions, erasure, and objects in the bucket that nothing needs."""
