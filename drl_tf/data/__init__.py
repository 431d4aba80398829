"""Datasets: their descriptions, and their images for training and evaluation."""
