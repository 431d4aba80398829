"""Converts between grey levels, 0 to 255, and images in [-1, 1]."""

from typing import Any

import numpy as np

HALF = 127.5
STEP = 1 / HALF  # Between two grey levels, in images in [-1, 1].


def from_levels(levels: Any) -> Any:
    """Scales grey levels u, floats from 0 to 255, to [-1, 1]: u / 127.5 - 1."""
    return levels / HALF - 1


def to_levels(images: Any) -> Any:
    """Scales images in [-1, 1] to grey levels, floats from 0 to 255: (x + 1) 127.5."""
    return (images + 1) * HALF


def to_uint8(images: Any) -> np.ndarray:
    """Converts images in [-1, 1] to uint8 of the same shape; clips values outside [-1, 1].

    Example:
      to_uint8([-1.0, 0.0, 1.0])  # [0, 128, 255]
    """
    return np.clip(np.round(to_levels(np.asarray(images))), 0, 255).astype(np.uint8)
