"""Health: the heart that the main loop beats, what the process needs, and the endpoint that tells both."""
