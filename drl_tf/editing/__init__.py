"""Inpaints, restores and edits images with a trained model, interpolates samples, and combines classes."""
