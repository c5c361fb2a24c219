"""What the sandbox holds: sellers with their orders, listings and shipments, and what happens to them."""
