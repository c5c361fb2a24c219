"""A write as it was asked for: checked by the document and by what is stored, then as the request that is sent."""
