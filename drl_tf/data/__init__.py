"""Datasets: the table, and images in an order that is a function of (seed, epoch)."""
