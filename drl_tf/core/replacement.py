"""Solves inverse problems by overwriting the observed part of the image after each noise level.

This is the heuristic of Song et al. (ICLR 2021, score_sde, section 5) and of RePaint (Lugmayr et al., CVPR
2022). Its samples are not draws from p(x | o): the sampler draws the other pixels before the observation is
inserted, so they may not fit the observation. Replacement works with any sampler.
"""

import dataclasses

import tensorflow as tf

from drl_tf.core import noise
from drl_tf.core.diffusion import at
from drl_tf.core.noise import Seed
from drl_tf.core.posterior import Observation
from drl_tf.core.rounds import Rounds, Visit
from drl_tf.core.sampling import Sampler


@dataclasses.dataclass(frozen=True, eq=False)
class Replacement:
    """Draws images given observations o: after each noise level t, replaces the observed part of x_t by o.

    x_t is the image with the noise of level t, and H the linear operator that maps an image to its
    observation. A_t is the factor of the clean image in x_t, S_t the standard deviation of the noise,
    and eps ~ N(0, I). H x_t is replaced by A_t o + S_t H eps, the observation with the noise of level t.

    Attributes:
      sampler: the `Sampler` that draws x_t given x_{t+1}.
      observation: o and H. The sampler takes o as free of noise; H must have a pseudo-inverse.
      rounds: how often each level is sampled. Between two rounds, noise is added to move the image one level
        up.

    Examples:
      Images have two pixels. The observed pixel has the value 2 in the results:
      >>> from drl_tf.core import diffusion, operators
      >>> def standard_normal(y):
      ...     return -tf.reduce_sum(y**2, axis=[1, 2, 3]) / 2
      >>> sampler = Sampler(diffusion.t1k(20), density_at=lambda level: standard_normal)
      >>> seen = tf.constant([[[1.0]], [[0.0]]])
      >>> observation = Observation(operators.masked(seen), 2 * seen * tf.ones([9, 2, 1, 1]))
      >>> replacement = Replacement(sampler, observation)
      >>> replacement.draw(noise.normal([0, 1], [9, 2, 1, 1]), [0, 2])[:, 0].numpy().mean().round(1).item()
      2.0
    """

    sampler: Sampler
    observation: Observation
    rounds: int = 1

    def draw(self, x: tf.Tensor, seed: Seed) -> tf.Tensor:
        """Draws images that fit the observations, from noise x_T down to x_0.

        Args:
          x: x_T, noise (`EnergyModel.prior`), float32 [B, H, W, C].
          seed: random seed, int32 [2].

        Returns:
          x_0, images with the noise of level 0, float32 [B, H, W, C].
        """

        def visit(visited: Visit) -> tf.Tensor:
            x_t, _ = self.sampler.recover(visited.x_next, visited.level, visited.seed)
            return self.replaced(x_t, visited.level, visited.seed)

        rounds = Rounds(self.sampler.schedule, self.rounds, self.sampler.first)
        return rounds.descend(x, seed, visit)

    def replaced(self, x: tf.Tensor, level: tf.Tensor, seed: Seed) -> tf.Tensor:
        """Replaces the observed part of noisy images x_t by the observations o with noise.

        H is the operator that maps an image to its observation, and H^+ its pseudo-inverse. A_t is the factor
        of the clean image in x_t, S_t the standard deviation of the noise, and eps ~ N(0, I). The result is
        x_t + H^+ (A_t o + S_t H eps - H x_t).

        Args:
          x: x_t, images with the noise of level t, float32 [B, height, width, C].
          level: noise level t of each image, 0 to T - 1, int32 [B].
          seed: random seed, int32 [2].

        Returns:
          The new x_t, float32 [B, height, width, C].
        """
        schedule, operator = self.sampler.schedule, self.observation.operator
        eps = noise.normal(noise.fold(seed, noise.REPLACEMENT), tf.shape(x), self.sampler.first)
        noisy = at(schedule.A, level) * self.observation.value + operator.apply(at(schedule.S, level) * eps)
        assert operator.inverse, 'the caller refuses operators without a pseudo-inverse'
        return x + operator.inverse(noisy - operator.apply(x))
