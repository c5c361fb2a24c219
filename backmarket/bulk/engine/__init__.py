"""One slice of an organization's bulk jobs: the worker sends parts, polls tasks, reads back and settles."""
