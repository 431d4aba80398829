"""Uses a trained model to inpaint, restore and edit given images, interpolate samples and compose classes."""
