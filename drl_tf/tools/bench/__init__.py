"""Measures what the program costs, part by part, against the limits of the same machine."""
