"""Checks the arguments of the methods of `drl_tf.EnergyModel` against the model's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from drl_tf.base import arguments
from drl_tf.base.errors import UserError
from drl_tf.config.sampling_options import GUIDANCE_BOUNDS
from drl_tf.core import noise
from drl_tf.core.guidance import Terms, fed, guided, network_labels

if TYPE_CHECKING:
    from drl_tf.config.config import Config

LARGEST_VALUE = 1.001


class Inputs:
    """Checks arguments that users give to methods of `EnergyModel`, and converts them to arrays or tensors.

    All methods raise UserError if an argument has a wrong shape or is out of range.

    Args:
      config: configuration of the model.
    """

    def __init__(self, config: Config):
        self.config = config

    def terms(self, labels: np.ndarray | None, count: int, guidance: float) -> Terms:
        """Converts classes and guidance to (labels, weight) pairs, the argument `terms` of the Keras model.

        The log density that the Keras model uses is the sum of weight * F(labels) over the pairs, where
        F(labels) is its log density of images with these labels. The labels are int32 [count]: class + 1 of
        each image, 0 for no class. They are None if the model has no classes.

        Args:
          labels: class number from 0 of each image, int32 [count], -1 for no class; None: no image has a
            class.
          count: number of images.
          guidance: w, -1 to 20; the pairs express the sum (1 + w) F(class) - w F(no class).
        """
        guidance = arguments.number('guidance', guidance, *GUIDANCE_BOUNDS, whole=False)
        if not self.config.data.num_classes:
            if guidance:
                raise UserError(f'guidance={guidance}: the model has no classes')
            return guided(None)
        labels = np.full(count, -1, np.int32) if labels is None else labels
        terms = guided(tf.constant(network_labels(labels)), guidance)
        return fed(terms) if guidance else terms

    def labels(self, labels: Any, count: int) -> np.ndarray | None:
        """Converts class numbers, one for all images or one per image, to int32 [count].

        Args:
          labels: class number from 0, or -1 for no class; an int or [count]. None: no image has a class.
          count: number of images.

        Returns:
          int32 [count], or None if `labels` is None.
        """
        if labels is None:
            return None
        if not self.config.data.num_classes:
            raise UserError('labels: the model has no classes')
        return arguments.each('labels', labels, count, -1, self.config.data.num_classes - 1)

    def seed(self, seed: Any) -> tf.Tensor:
        """Converts a random seed, an int from 0 to 2^31 - 1, to the tensor that sampling takes, int32 [2]."""
        return tf.constant(noise.root(arguments.number('seed', seed, 0), noise.SAMPLING))

    def level(self, level: Any, count: int, default: int = 0) -> np.ndarray:
        """Converts noise levels, one for all images or one per image, to int32 [count].

        Args:
          level: noise level from 0 to `num_levels` - 1, an int or [count]; None: `default`.
          count: number of images.
          default: the level for all images if `level` is None.
        """
        level = default if level is None else level
        return arguments.each('level', level, count, 0, self.config.diffusion.num_levels - 1)

    def images(self, images: Any) -> np.ndarray:
        """Converts images with or without noise to float32 [n, H, W, C].

        Args:
          images: floats of any magnitude, or uint8, which is scaled to [-1, 1]; [n, H, W, C].
        """
        return arguments.images('images', images, self.config.image_shape)

    def clean(self, images: Any) -> np.ndarray:
        """Converts images without noise to float32 [n, H, W, C] in [-1, 1].

        Args:
          images: floats in [-1, 1], or uint8, which is scaled to [-1, 1]; [n, H, W, C]. Points of the plane,
            [n, 1, 1, 2], may have coordinates of any magnitude.
        """
        x = self.images(images)
        reach = np.abs(x).max()
        if not self.config.planar and reach > LARGEST_VALUE:
            raise UserError(
                f'images reach {reach:.4g}: floats must be within [-1, 1] (x / 127.5 - 1), or give uint8'
            )
        return x


def finite(images: np.ndarray) -> np.ndarray:
    """Returns `images` unchanged, or raises UserError if they hold NaN or infinity."""
    if not np.isfinite(images).all():
        raise UserError('the images are not finite: lower guidance, or give images nearer to [-1, 1]')
    return images
