"""Devices and workers: strategies, clusters, and messages between the processes of one run."""
