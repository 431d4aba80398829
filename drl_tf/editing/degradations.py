"""The degradations of --mode=restore, such as blur: a linear operator H, then noise."""

from __future__ import annotations

import dataclasses
import os
import re
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from drl_tf.base import pixels
from drl_tf.base.errors import UserError, one_line

if TYPE_CHECKING:
    from drl_tf.core.operators import Operator

_NUMBER = r'(\d*\.?\d+)'
_POOLED = re.compile(r'super([24])')
_BLUR = re.compile(rf'blur:{_NUMBER}')
_NOISE = re.compile(rf'noise(?::{_NUMBER})?')
_ROUNDING = pixels.STEP / 12**0.5  # Standard deviation of the rounding to 8 bits, for images in [-1, 1].
_LARGEST = 20.0
_MOST_DEVIATIONS = 8


@dataclasses.dataclass(frozen=True)
class Degradation:
    """How an image was degraded: a linear operator was applied to it, then white noise was added.

    Attributes:
      kind: 'super2' or 'super4' (2 or 4 times smaller), 'grey', 'blur' or 'noise'.
      noise_std: standard deviation of the noise, for images in [-1, 1], including the rounding to 8 bits;
        None if it is unknown.
      kernel: the kernel of a blur, rows of floats [h, w]; () for other kinds.

    Examples:
      >>> parse('super2', (16, 16, 1)).observed_shape((16, 16, 1))
      (8, 8, 1)
    """

    kind: str
    noise_std: float | None
    kernel: tuple[tuple[float, ...], ...] = ()

    def observed_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Returns the shape (h, w, c) of degraded images.

        Args:
          image_shape: (H, W, C) of the original images.
        """
        height, width, channels = image_shape
        if found := _POOLED.fullmatch(self.kind):
            return height // int(found[1]), width // int(found[1]), channels
        return (height, width, 1) if self.kind == 'grey' else image_shape

    @property
    def largest_value(self) -> float:
        """Largest magnitude of degraded images in [-1, 1], with 8 deviations of the noise, which is known."""
        assert self.noise_std is not None
        kernel = np.array(self.kernel or 1.0)
        return float(np.abs(kernel).sum() / kernel.sum()) + _MOST_DEVIATIONS * self.noise_std

    def operator(self, image_shape: tuple[int, int, int]) -> Operator:
        """Returns the linear operator that maps original images to degraded images without noise.

        Args:
          image_shape: (H, W, C) of the original images.

        Returns:
          An `Operator`. Its method `apply` maps a tensor of images, float32 [n, H, W, C], to the degraded
          images, float32 [n, h, w, c]. For the kind 'noise', it leaves the images as they are.
        """
        import tensorflow as tf

        from drl_tf.core import operators

        if found := _POOLED.fullmatch(self.kind):
            return operators.pooled(int(found[1]))
        if self.kind == 'grey':
            return operators.grey()
        if self.kind == 'blur':
            return operators.blurred(np.array(self.kernel), *image_shape[:2])
        return operators.masked(tf.ones(image_shape))


def parse(text: str, image_shape: tuple[int, int, int]) -> Degradation:
    """Parses a degradation, the value of --degradation.

    Args:
      text: 'super2' or 'super4' (images that are 2 or 4 times smaller), 'grey', 'blur:STD' (Gaussian blur,
        STD in pixels), 'blur:FILE.npy' (blur with the kernel [h, w] in this file), 'noise:STD' (white noise
        of standard deviation STD, for images in [-1, 1]) or 'noise' (of unknown standard deviation).
      image_shape: (H, W, C) of the model's images.

    Raises:
      UserError: the text is none of these, or does not fit the model's images.
    """
    height, width, channels = image_shape
    if found := _POOLED.fullmatch(text):
        factor = int(found[1])
        if height % factor or width % factor:
            raise UserError(f'--degradation={text}: {height} x {width} pixels do not divide by {factor}')
        return Degradation(text, _ROUNDING)
    if text == 'grey':
        if channels != 3:
            raise UserError('--degradation=grey needs a model of colour images; this one has grey images')
        return Degradation(text, _ROUNDING)
    if found := _BLUR.fullmatch(text):
        return Degradation('blur', _ROUNDING, _gaussian(_within(text, found[1]), min(height, width)))
    if text.startswith('blur:'):
        return Degradation('blur', _ROUNDING, _kernel(text, height, width))
    if found := _NOISE.fullmatch(text):
        return Degradation('noise', float(np.hypot(_within(text, found[1]), _ROUNDING)) if found[1] else None)
    raise UserError(
        f'--degradation={text} must be super2, super4, grey, blur:STD, blur:KERNEL.npy, noise or noise:STD'
    )


def _within(text: str, number: str) -> float:
    value = float(number)
    if not 0 < value <= _LARGEST:
        raise UserError(f'--degradation={text}: the deviation must be above 0 and at most {_LARGEST:g}')
    return value


def _gaussian(std: float, side: int) -> tuple[tuple[float, ...], ...]:
    reach = min(int(np.ceil(3 * std)), (side - 1) // 2)
    line = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * std**2))
    return tuple(map(tuple, np.outer(line, line).tolist()))


def _kernel(text: str, height: int, width: int) -> tuple[tuple[float, ...], ...]:
    path = text.partition(':')[2]
    if not os.path.isfile(path):
        raise UserError(f'--degradation={text}: {path} must be a number or a .npy file with the kernel')
    try:
        kernel = np.load(path, allow_pickle=False).astype(float)
    except (AttributeError, ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f'--degradation={text}: {path} is no sound .npy file ({one_line(error)})') from error
    fits = kernel.ndim == 2 and kernel.shape[0] <= height and kernel.shape[1] <= width
    if not fits or not np.isfinite(kernel).all() or kernel.sum() <= 0:
        raise UserError(
            f'--degradation={text}: the kernel of shape {kernel.shape} must be [h, w], at most {height} x '
            f'{width}, finite, with a sum above 0'
        )
    return tuple(map(tuple, kernel.tolist()))
