"""Bulk files: a CSV of listings, checked line by line, cut into parts, sent as the quota allows, and answered for.

`csv_file/` is the pure half, which reads no table and sends nothing; `engine/` sends and asks.
"""
