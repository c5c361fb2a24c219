"""What a process says of itself: logs, facts for metrics and traces, and nothing that is secret or personal."""
