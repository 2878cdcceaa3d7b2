"""What machines read of a run: a log of JSON lines, and metrics for Prometheus."""
