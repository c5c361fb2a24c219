"""`make test-compose`: docker-compose.yml on a real engine. Outside the ordinary tests: it wants root and Debian.

Nothing here is collected by pytest; `__main__` tells the story, the other files do what it says.
"""
