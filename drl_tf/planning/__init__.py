"""Predicts the cost of a run: operations and memory."""
