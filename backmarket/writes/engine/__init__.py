"""One slice of an organization's writes: the worker sends them, reads them back and settles them."""
