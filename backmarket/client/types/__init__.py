"""The answers of the API as types, one module for each of its parts; `values.py` has the values of arguments.

They follow the published document, and nothing is converted: a field may still be missing, null, or one that
the document does not know.
"""
