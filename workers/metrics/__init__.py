"""Metrics for Prometheus: each process serves its own; the exporter `workers.metrics` serves the deployment's."""
