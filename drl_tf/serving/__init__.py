"""Exports models for TensorFlow Serving, and reads and writes presets of keras-hub."""
