"""Devices and workers: strategies, clusters, and messages between the workers of a run."""
