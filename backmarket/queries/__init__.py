"""What is stored, read: orders, listings and shipments, a page at a time."""
