"""The bucket: the only code that talks to S3.

It works with any S3 server; the settings `S3_*` name it.
"""
