"""What the methods of `drl_tf.Model` are given, checked against its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from drl_tf.base import arguments
from drl_tf.base.errors import UserError
from drl_tf.config.options import GUIDANCE_BOUNDS
from drl_tf.core import noise
from drl_tf.core.guidance import Terms, guided, network_labels

if TYPE_CHECKING:
    from drl_tf.config.config import Config

_LARGEST_VALUE = 1.001


class Inputs:
    """Checks arguments, and turns them into what the networks take.

    Each method raises UserError for an argument of another shape or out of its range.

    Args:
      config: of the model.
    """

    def __init__(self, config: Config):
        self.config = config

    def terms(self, labels: np.ndarray | None, count: int, guidance: float) -> Terms:
        """Guidance terms for classes from 0, int32 [count], or None."""
        guidance = arguments.number('guidance', guidance, *GUIDANCE_BOUNDS, whole=False)
        if not self.config.data.num_classes:
            if guidance:
                raise UserError(f'guidance={guidance}: the model has no classes')
            return guided(None)
        labels = np.full(count, -1, np.int32) if labels is None else labels
        return guided(tf.constant(network_labels(labels)), guidance)

    def labels(self, labels: Any, count: int) -> np.ndarray | None:
        """Classes of images, int32 [count] from 0, or None."""
        if labels is None:
            return None
        if not self.config.data.num_classes:
            raise UserError('labels: the model has no classes')
        return arguments.each('labels', labels, count, -1, self.config.data.num_classes - 1)

    def seed(self, seed: Any) -> tf.Tensor:
        """The seed of samples, int32 [2]."""
        return tf.constant(noise.root(arguments.number('seed', seed, 0), noise.SAMPLING))

    def level(self, level: Any, count: int, default: int = 0) -> np.ndarray:
        """Noise levels of images, int32 [count]."""
        level = default if level is None else level
        return arguments.each('level', level, count, 0, self.config.diffusion.num_levels - 1)

    def images(self, images: Any) -> np.ndarray:
        """Images, noisy or not, float32 [n, H, W, C]."""
        return arguments.images('images', images, self.config.image_shape)

    def clean(self, images: Any) -> np.ndarray:
        """Images without noise, within [-1, 1]; points may be anywhere."""
        x = self.images(images)
        reach = np.abs(x).max()
        if not self.config.planar and reach > _LARGEST_VALUE:
            raise UserError(
                f'images reach {reach:.4g}: floats must be within [-1, 1] (x / 127.5 - 1), or give uint8'
            )
        return x


def finite(images: np.ndarray) -> np.ndarray:
    """The images; raises UserError where one is not finite."""
    if not np.isfinite(images).all():
        raise UserError('the images are not finite: lower guidance, or give images nearer to [-1, 1]')
    return images
