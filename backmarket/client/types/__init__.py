"""The answers of the API as types, one module for each of its parts; `values.py` holds what may be asked for.

They say what the published document says, and nothing is converted: a field may still be missing, null, or one that
the document does not know.
"""
