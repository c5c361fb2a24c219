"""What brings an older database to the next version: a file for each, named by the version that it leads to.

`schema.sql` is the truth, and always says everything. A file here is for what it can't do by running again: change or
fill tables that are there already. Each runs in one transaction; then `schema.sql` runs as well.
"""
