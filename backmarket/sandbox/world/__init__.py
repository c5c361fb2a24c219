"""The sandbox's data: sellers with their orders, listings and shipments, and changes to them."""
