"""Distances between generated and real images, and other scores."""
