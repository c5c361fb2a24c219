"""Bulk files: a CSV of listings, checked line by line, cut into parts, sent as the quota allows, and reported on.

`csv_file/` is pure: it reads no table and sends nothing. `engine/` sends the parts and polls their tasks.
"""
