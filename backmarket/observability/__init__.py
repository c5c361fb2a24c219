"""What a process says of itself: logs, events for metrics and traces, and nothing that is secret or personal."""
