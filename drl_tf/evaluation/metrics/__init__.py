"""Distances between generated and real images."""
