"""Health: the heartbeat of the main loop, the services a process needs, and the endpoint that reports both."""
