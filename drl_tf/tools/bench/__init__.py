"""Benchmarks: time and memory of each part of the program, compared with the limits of the machine."""
