"""Measures how good samples are: Fréchet distance, kernel distance, precision and recall."""
