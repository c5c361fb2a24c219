"""Metrics for Prometheus: each process has its own; those of the deployment have an exporter, `workers.metrics`."""
