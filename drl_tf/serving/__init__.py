"""Exported models for TensorFlow Serving: signatures, warm-up requests and the model card."""
