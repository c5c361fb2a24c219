"""Read stored orders, listings and shipments, a page at a time."""
