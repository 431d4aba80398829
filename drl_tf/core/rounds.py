"""Samples each noise level several times on the way from noise to image (resampling, as in RePaint)."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from drl_tf.core import noise
from drl_tf.core.diffusion import Schedule, at
from drl_tf.core.noise import Seed


class Visit(NamedTuple):
    """The argument of `visit`, the function with which `Rounds.descend` draws x_t, images of noise level t.

    Attributes:
      x: images from which a chain may start, float32 [B, H, W, C]. For the first draw at level t, these are
        x_{t+1}; for later draws, the x_t of the previous draw.
      x_next: x_{t+1}, noisy images one level above x_t, float32 [B, H, W, C].
      level: noise level t of each image, int32 [B].
      seed: random seed of this draw, int32 [2].
      is_first: whether this is the first draw at the level, bool [].

    Examples:
      >>> Visit(tf.zeros([1, 2]), tf.ones([1, 2]), tf.constant([0]), [0, 1], tf.constant(True)).x_next.shape
      TensorShape([1, 2])
    """

    x: tf.Tensor
    x_next: tf.Tensor
    level: tf.Tensor
    seed: Seed
    is_first: tf.Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Rounds:
    """Samples from noise x_T down to x_0, with several draws at each level (RePaint, algorithm 1).

    x_t is an image with the noise of level t. Between two draws at level t, noise is added to x_t. The result
    is a new x_{t+1}, from which x_t is drawn again.

    Attributes:
      schedule: the noise levels and their constants, a `Schedule`.
      count: number of draws at each level, at least 1.
      first: index of the first image; the noise of image i depends on first + i and the seed of `descend`.

    Examples:
      >>> from drl_tf.core import diffusion
      >>> x_T = tf.ones([2, 4, 4, 1])
      >>> Rounds(diffusion.t6(), 2, 0).descend(x_T, [0, 1], lambda visited: visited.x_next / 2).shape
      TensorShape([2, 4, 4, 1])
    """

    schedule: Schedule
    count: int
    first: int | tf.Tensor

    def descend(self, x: tf.Tensor, seed: Seed, visit: Callable[[Visit], tf.Tensor]) -> tf.Tensor:
        """Samples from noise x_T down to x_0, and returns x_0, float32 [B, H, W, C].

        Args:
          x: x_T, noise (`EnergyModel.prior`), float32 [B, H, W, C].
          seed: random seed, int32 [2].
          visit: callable that takes a `Visit` and returns x_t, drawn given x_{t+1}, float32 [B, H, W, C].
        """

        def step(i: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            level = tf.fill([tf.shape(x)[0]], self.schedule.num_levels - 1 - i // self.count)
            visit_seed = noise.fold(seed, noise.LANGEVIN, i)
            is_first = i % self.count == 0
            x_next = tf.cond(is_first, lambda: x, lambda: self._rediffused(x, level, visit_seed))
            x_t = visit(Visit(x, x_next, level, visit_seed, is_first))
            return i + 1, tf.ensure_shape(x_t, x.shape)

        visits = self.schedule.num_levels * self.count
        return tf.while_loop(lambda i, x: i < visits, step, (tf.constant(0), x), parallel_iterations=1)[1]

    def _rediffused(self, x: tf.Tensor, level: tf.Tensor, seed: Seed) -> tf.Tensor:
        """Adds noise to x_t; returns x_{t+1}."""
        eps = noise.normal(noise.fold(seed, noise.RESAMPLING), tf.shape(x), self.first)
        return at(self.schedule.a, level + 1) * x + at(self.schedule.s, level + 1) * eps
