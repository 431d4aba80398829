"""The densities between a Gaussian and level 0 of a model with energies at all noise levels.

Chains are carried from level to level by the model's own proposal, and back by adding noise. This needs far
fewer densities than a path along which images stay where they are (Doucet et al., NeurIPS 2022, arXiv
2208.07698).

Clean images lie in [-1, 1]. No training image tells the network what lies beyond, and exp F may be huge
there. So the density of a noisy image, x = A x_clean + S eps, is zero here where a pixel is beyond A + 6 S.
Walls reflect the chains. A test image lies between them, except with probability 2e-9 per pixel.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from drl_tf.core import level_pairs, noise
from drl_tf.core.langevin import LogDensity, value_gradient
from drl_tf.core.level_pairs import LevelPair
from drl_tf.experiments.bridges import mirrored

if TYPE_CHECKING:
    from drl_tf.core.diffusion import Schedule
    from drl_tf.core.preconditioning import PreconditionedEnergy
    from drl_tf.experiments.annealing import Carry

LogProbAt = Callable[[tf.Tensor], LogDensity]
Normal = tuple[tf.Tensor, tf.Tensor]  # Mean and variance.

WALL = 6.0  # How far the walls are from black and white, in standard deviations of the noise.
NEAR = 0.95 * WALL


@dataclasses.dataclass(frozen=True, eq=False)
class Walk:
    """The densities k = 0 to K of noisy images x, from pure noise down to noise level 0.

    Density 0 is a Gaussian: that of the highest level if the data were Gaussian. It is drawn without walls,
    which would cut off less than 1e-8 of it per pixel. Density k is that of the model at level `angles[k]`.

    Attributes:
      network: the model's network, which knows mean and deviation of the data.
      angles: noise level of each density in radians, descending; the first two are equal, float64 [K + 1].
    """

    network: PreconditionedEnergy
    angles: np.ndarray

    @property
    def last(self) -> int:
        """K, the index of the last density."""
        return len(self.angles) - 1

    @property
    def settings(self) -> dict[str, Any]:
        """What the figures depend on besides the number of steps, as JSON values."""
        return {'path': 'walk', 'wall_in_S': WALL}

    def density_of(self, log_prob_at: LogProbAt) -> Callable[[tf.Tensor], LogDensity]:
        """Returns a callable that maps an index k, int32 [], to the log of density k, up to a constant.

        At a point beyond the walls it has the value of the point's mirror image inside.

        Args:
          log_prob_at: callable that maps angles, float32 [n], to the log density of the model at these
            levels: a callable that maps x, float32 [n, H, W, C], to float32 [n].
        """

        def density_of(k: tf.Tensor) -> LogDensity:
            def log_density(x: tf.Tensor) -> tf.Tensor:
                angle = self._angle(k, x)
                inside = mirrored(x, self._wall(k))
                return tf.cond(
                    k == 0, lambda: self.network.gaussian(inside, angle), lambda: log_prob_at(angle)(inside)
                )

            return log_density

        return density_of

    def carry(self, log_prob_at: LogProbAt) -> Carry:
        """Returns the argument `carry` of `annealing.Annealer`.

        Downwards, x is drawn from the model's proposal, and upwards, noise is added, both reflected by the
        walls. The log ratio is that of the two ways, log q(x_{t+1} | x_t) - log r(x_t | x_{t+1}), or minus
        it.

        Args:
          log_prob_at: as for `density_of`.
        """

        def carry(
            y: tf.Tensor, from_k: tf.Tensor, k: tf.Tensor, seed: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            here, there = self._angle(from_k, y), self._angle(k, y)
            low, high = self._wall(tf.maximum(from_k, k)), self._wall(tf.minimum(from_k, k))
            x = mirrored(y, self._wall(from_k))
            eps = noise.normal(seed, tf.shape(x))

            def log_ratio(pair: LevelPair, lower: tf.Tensor, upper: tf.Tensor, proposal: Normal) -> tf.Tensor:
                way_up = log_reflected(upper, pair.forward(lower), high)
                return way_up - log_reflected(lower, proposal, low)

            def down() -> tuple[tf.Tensor, tf.Tensor]:
                pair = LevelPair(there, here)
                proposal = _proposal(pair, log_prob_at(here), x, low)
                lower = mirrored(level_pairs.draw(*proposal, eps), low)
                return lower, log_ratio(pair, lower, x, proposal)

            def up() -> tuple[tf.Tensor, tf.Tensor]:
                pair = LevelPair(here, there)
                upper = mirrored(level_pairs.draw(*pair.forward(x), eps), high)
                proposal = _proposal(pair, log_prob_at(there), upper, low)
                return upper, -log_ratio(pair, x, upper, proposal)

            def stay() -> tuple[tf.Tensor, tf.Tensor]:
                return x, tf.zeros_like(here)

            return tf.case([(there[0] < here[0], down), (there[0] > here[0], up)], default=stay)

        return carry

    def first(self, shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
        """Draws from density 0.

        Args:
          shape: (n, H, W, C).
          seed: int32 [2].

        Returns:
          Noisy images, float32 of the given shape.
        """
        w = noise.normal(seed, shape)
        return self.network.unwhitened(w, self._angle(tf.constant(0), w))

    def states(self, x_0: tf.Tensor) -> tf.Tensor:
        """Returns the states of chains at x_0, images with the noise of level 0: the images."""
        return x_0

    def near_wall(self, x: tf.Tensor) -> float:
        """Returns the share of x, float32 [n, H, W, C], of level 0 with a pixel beyond A + 5.7 S."""
        A, S = np.cos(self.angles[-1]), np.sin(self.angles[-1])
        farthest = tf.reduce_max(tf.abs(mirrored(x, self._wall(tf.constant(self.last)))), axis=[1, 2, 3])
        return float(tf.reduce_mean(tf.cast(farthest > A + NEAR * S, tf.float32)))

    def gradients(self, order: np.ndarray, num_leapfrog: int) -> int:
        """Counts the network gradients of a chain, of its transitions and one for each change of level.

        Args:
          order: indices k of the densities that the chain passes, int [m].
          num_leapfrog: leapfrog steps of a transition.
        """
        return int(np.sum(order > 0)) * (num_leapfrog + 1) + int(np.sum(np.diff(self.angles[order]) != 0))

    def _angle(self, k: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Returns the angle of density k once for each image, float32 [n]."""
        return tf.fill(tf.shape(x)[:1], tf.gather(tf.constant(self.angles, tf.float32), k))

    def _wall(self, k: tf.Tensor) -> tf.Tensor:
        """Returns the largest size of a pixel at density k, float32 []."""
        return tf.gather(tf.constant(np.cos(self.angles) + WALL * np.sin(self.angles), tf.float32), k)


def walk(schedule: Schedule, network: PreconditionedEnergy, num_steps: int) -> Walk:
    """Chooses the densities of a `Walk`, evenly spaced in log-SNR between the ends of a schedule.

    Args:
      schedule: noise levels of the model.
      network: the model's network.
      num_steps: number of steps from one density to the next, at least 1.
    """
    low, high = np.log(np.tan(schedule.angle[[0, -1]]))
    angles = np.arctan(np.exp(np.linspace(high, low, num_steps + 1)))
    return Walk(network, np.append(angles[0], angles))


def _proposal(pair: LevelPair, log_prob: LogDensity, x_above: tf.Tensor, wall: tf.Tensor) -> Normal:
    """Returns the model's proposal, its mean moved between the walls, so that one reflection is enough."""
    mean, variance = pair.proposal(value_gradient(log_prob, x_above), x_above)
    return tf.clip_by_value(mean, -wall, wall), variance


def log_reflected(x: tf.Tensor, normal: Normal, wall: tf.Tensor) -> tf.Tensor:
    """Returns the log density of x, drawn from a normal and reflected by the walls, float32 [n].

    A pixel comes from itself or from its mirror image at one of the two walls. Means lie between the walls,
    so further images have next to no weight unless a step is very coarse.

    Args:
      x: float32 [n, H, W, C], between the walls.
      normal: mean, float32 [n, H, W, C], and variance, float32 [n], before the reflection.
      wall: the walls are at -wall and wall, float32 [].
    """
    mean, variance = normal
    variance = variance[:, None, None, None]
    sources = tf.stack([x, 2 * wall - x, -2 * wall - x])
    logs = -((sources - mean) ** 2) / (2 * variance) - tf.math.log(2 * math.pi * variance) / 2
    return tf.reduce_sum(tf.reduce_logsumexp(logs, axis=0), axis=[1, 2, 3])
