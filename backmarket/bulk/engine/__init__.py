"""One slice of an organization's bulk jobs: what is sent, asked about, read back and decided."""
