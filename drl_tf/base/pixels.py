"""Grey levels, 0 to 255, and images in [-1, 1]."""

import numpy as np

HALF = 127.5


def from_levels(levels):
    """x = u / 127.5 - 1 of grey levels u; floats, an array or a tensor, stay what they are."""
    return levels / HALF - 1


def to_uint8(images):
    """The nearest grey levels of images in [-1, 1]; values outside are clipped.

    Example:
      to_uint8([-1.0, 0.0, 1.0])  # [0, 128, 255]
    """
    return np.clip(np.round((np.asarray(images) + 1) * HALF), 0, 255).astype(np.uint8)
