"""Reads and writes the files of a run: checkpoints, samples, pictures, and imported or exported weights."""
