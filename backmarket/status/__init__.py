"""Status of syncs, organizations, limits, the deployment and its broker."""
