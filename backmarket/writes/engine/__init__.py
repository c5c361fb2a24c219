"""One slice of an organization's writes: what is sent, read back and decided."""
