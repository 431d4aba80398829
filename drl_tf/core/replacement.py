"""Solves inverse problems by replacement: each level overwrites the observed part of the image with noised o.

This is the heuristic of Song et al. (ICLR 2021, score_sde, section 5) and of RePaint (Lugmayr et al., CVPR
2022). Its samples do not have the distribution p(x | o): at each level, the sampler draws the unseen pixels
before the observation is put in, so they need not fit it. Replacement works with any sampler, and so also
with energies that are no log densities.
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
    """Draws images with a sampler, and after each level replaces H x_t by the noised observation.

    The noised observation is A_t o + S_t H eps, with white noise eps. It is H x_t for a noisy image x_t whose
    clean image fits o.

    Attributes:
      sampler: draws x_t given x_{t+1}.
      observation: o without noise, and H with a pseudo-inverse.
      rounds: U, how often each level is sampled; see `posterior.Effort`.

    Examples:
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
        """Goes from x_T, white noise, down to x_0.

        Args:
          x: x_T, float32 [B, H, W, C].
          seed: int32 [2].

        Returns:
          x_0, float32 [B, H, W, C].
        """

        def visit(visited: Visit) -> tf.Tensor:
            x_t, _ = self.sampler.recover(visited.x_next, visited.level, visited.seed)
            return self.replaced(x_t, visited.level, visited.seed)

        rounds = Rounds(self.sampler.schedule, self.rounds, self.sampler.first)
        return rounds.descend(x, seed, visit)

    def replaced(self, x: tf.Tensor, level: tf.Tensor, seed: Seed) -> tf.Tensor:
        """Replaces the observed part of x_t by the noised observation: x_t + H^+ (A_t o + S_t H eps - H x_t).

        Args:
          x: x_t, float32 [B, H, W, C].
          level: t, int32 [B].
          seed: int32 [2].

        Returns:
          float32 [B, H, W, C].
        """
        schedule, operator = self.sampler.schedule, self.observation.operator
        eps = noise.normal(noise.fold(seed, noise.REPLACEMENT), tf.shape(x), self.sampler.first)
        noisy = at(schedule.A, level) * self.observation.value + operator.apply(at(schedule.S, level) * eps)
        assert operator.inverse, 'the caller refuses operators without a pseudo-inverse'
        return x + operator.inverse(noisy - operator.apply(x))
