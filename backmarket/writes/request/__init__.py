"""The request of a write: checked against the API document and the stored rows, then built as an HTTP request."""
