"""The signatures `inpaint` and `interpolate` of an exported model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from drl_tf.core import inverse, noise, operators
from drl_tf.core.posterior import Observation
from drl_tf.core.sampling import Draw
from drl_tf.core.weights import Weights
from drl_tf.serving.requests import grey_levels, shaped, within

if TYPE_CHECKING:
    from drl_tf.core.energy_model import EnergyModel

_Outputs = dict[str, tf.Tensor]


def inpaint(
    model: EnergyModel,
    images: tf.Tensor,
    missing: tf.Tensor,
    seed: tf.Tensor,
    weights: Weights,
    corrector_steps: tf.Tensor | None,
) -> _Outputs:
    """Fills in missing pixels; the other pixels stay as they are, bit for bit.

    Args:
      model: the exported model.
      images: clean images in [-1, 1], float32 [n, H, W, C]; their missing pixels are ignored.
      missing: True where a pixel is missing, bool [n, H, W, 1].
      seed: seed of all random numbers, any two integers, int32 [2].
      weights: 'ema' (averages) or 'raw'.
      corrector_steps: q_t for each noise level t, float32 [T], computed by `pilot.steps`. A chain at level t
        takes steps of size sqrt(2 q_t / L_t), where L_t is the largest curvature of its log density. None:
        the step sizes of the noise schedule. Models with --energy=preconditioned ignore it.

    Returns:
      {'images': float32 [n, H, W, C] in [-1, 1]}.
    """
    shape = model.config.image_shape
    images = shaped(images, None, *shape)
    missing = shaped(missing, None, *shape[:2], 1)
    same = tf.debugging.assert_equal(
        tf.shape(images)[0], tf.shape(missing)[0], 'images and missing must have equal lengths'
    )
    with tf.control_dependencies([same]):
        seen = tf.where(missing, 0.0, 1.0)
    known = tf.where(missing, 0.0, images)
    checks = within(known, -1.001, 1.001, 'images')
    with tf.control_dependencies(checks):
        observation = Observation(operators.masked(seen), tf.identity(known))
    plan = inverse.default_plan(model.config)
    draw = Draw(weights=weights, corrector_steps=corrector_steps)
    x = inverse.solve(model, observation, plan, shaped(seed, 2), draw)
    x = tf.debugging.assert_all_finite(x, 'the images are not finite')
    return {'images': tf.where(missing, tf.clip_by_value(x, -1.0, 1.0), images)}


def interpolate(
    model: EnergyModel,
    seed: tf.Tensor,
    between: tf.Tensor,
    position: tf.Tensor,
    weights: Weights,
    corrector_steps: tf.Tensor | None,
) -> _Outputs:
    """Draws images between two samples, by interpolating all the noise from which the two are drawn.

    Args:
      model: the exported model.
      seed: seed of all random numbers, any two integers, int32 [2].
      between: indices of the two samples, int32 [2]. Index i stands for the image i that the signature
        `sample` draws with this seed.
      position: place of each image between the two samples, float32 [n]: 0 is the first sample, 1 the second.
      weights: 'ema' (averages) or 'raw'.
      corrector_steps: q_t for each noise level t, float32 [T], computed by `pilot.steps`. A chain at level t
        takes steps of size sqrt(2 q_t / L_t), where L_t is the largest curvature of its log density. None:
        the step sizes of the noise schedule.

    Returns:
      {'images': uint8 [n, H, W, C]}.
    """
    position = shaped(position, None)
    between = shaped(between, 2)
    checks = [
        *within(position, 0, 1, 'position'),
        tf.debugging.assert_non_negative(between, 'between must be at least 0'),
    ]
    with tf.control_dependencies(checks):
        first = noise.between(between[0], between[1], tf.identity(position))
    draw = Draw(first, weights, corrector_steps=corrector_steps)
    states = model.sample(tf.size(position), shaped(seed, 2), draw, most_parts=1)
    return {'images': grey_levels(tf.debugging.assert_all_finite(states[-1], 'the samples are not finite'))}
