"""Devices and workers: strategies, clusters, and what several processes of one run tell each other."""
