"""Training: Keras `fit`, resumed from the last checkpoint, and its callbacks."""
