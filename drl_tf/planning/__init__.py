"""Predicts the cost of a run: floating-point operations and memory."""
