"""Organizations: connecting one, changing its connection, disabling, enabling, removing and checking it."""
