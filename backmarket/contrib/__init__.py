"""What fits `backmarket` into other frameworks; each part needs its framework, and is imported by name."""
