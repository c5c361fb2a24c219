"""Bulk files: a CSV of listings, checked line by line, cut into parts, sent as the quota allows, and answered for.

The pure half, which reads no table and sends nothing:

    reading    a file as records, in the dialect that `dialect` finds or is told
    checking   which records may be sent, and each fault of the others, by the rules of `columns`
    cutting    the canonical text of the good ones, in parts
    unchanged  whether a line would change what is stored
"""
