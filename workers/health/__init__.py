"""Health: the heartbeat of the main loop, what the process needs, and the endpoint that tells both."""
