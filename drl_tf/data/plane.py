"""Random points of the plane instead of images: densities that can be plotted.

A point is an "image" of shape [1, 1, 2], so that all code for images works on points too.
"""

import numpy as np

IMAGE_SHAPE = (1, 1, 2)
_EIGHT_RADIUS = 0.7
_EIGHT_DEVIATION = 0.05
_MOONS_DEVIATION = 0.03
_ROLL_DEVIATION = 0.015


def points(name: str, seed: int, batch: int, count: int) -> np.ndarray:
    """Draws a batch of random points from a toy density in the plane; nearly all lie in [-1, 1]^2.

    Args:
      name: name of the density: 'toy_checkerboard', 'toy_8gaussians', 'toy_two_moons' or 'toy_swiss_roll'.
      seed: int, at least 0.
      batch: number of the batch, at least 0; each number gives newly drawn points.
      count: number of points.

    Returns:
      The points as images of one pixel with two channels, float32 [count, 1, 1, 2].

    Example:
      points('toy_two_moons', seed=0, batch=0, count=100)
    """
    drawn = SETS[name](np.random.default_rng([seed, batch]), count)
    return drawn.astype(np.float32).reshape(count, *IMAGE_SHAPE)


def _checkerboard(rng: np.random.Generator, count: int) -> np.ndarray:
    """Uniform on the 8 black squares of a board of 4 x 4."""
    row = rng.integers(4, size=count)
    column = 2 * rng.integers(2, size=count)
    corner = np.stack([column + row % 2, row], axis=1)
    return (corner + rng.random((count, 2))) / 2 - 1


def _eight_gaussians(rng: np.random.Generator, count: int) -> np.ndarray:
    """Eight Gaussians on a circle."""
    angle = 2 * np.pi * rng.integers(8, size=count) / 8
    return _EIGHT_RADIUS * _on_circle(angle) + _EIGHT_DEVIATION * rng.normal(size=(count, 2))


def _two_moons(rng: np.random.Generator, count: int) -> np.ndarray:
    """Two interlocking half circles."""
    angle = np.pi * rng.random(count)
    is_lower = rng.integers(2, size=count)[:, None]
    upper = _on_circle(angle)
    moons = np.where(is_lower, [1.0, 0.5] - upper, upper) - [0.5, 0.25]
    return moons / 1.75 + _MOONS_DEVIATION * rng.normal(size=(count, 2))


def _swiss_roll(rng: np.random.Generator, count: int) -> np.ndarray:
    """A spiral of a turn and a half."""
    angle = 1.5 * np.pi * (1 + 2 * rng.random(count))
    spiral = angle[:, None] / (4.5 * np.pi) * _on_circle(angle)
    return 0.92 * spiral + _ROLL_DEVIATION * rng.normal(size=(count, 2))


def _on_circle(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


SETS = {
    'toy_checkerboard': _checkerboard,
    'toy_8gaussians': _eight_gaussians,
    'toy_two_moons': _two_moons,
    'toy_swiss_roll': _swiss_roll,
}
