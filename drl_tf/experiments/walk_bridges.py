"""The densities between a Gaussian and level 0 of a model with energies at all noise levels.

Chains are carried from level to level by the model's own proposal, and back by adding noise. This needs far
fewer densities than a path along which images stay where they are (Doucet et al., NeurIPS 2022, arXiv
2208.07698).

Clean images lie in [-1, 1]. No training image tells the network what lies beyond, and exp F may be huge
there. So the density of a noisy image, x = A x_clean + S eps, is zero here where a pixel is beyond A + 6 S.
Walls reflect the chains.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from drl_tf.core import level_pairs, noise
from drl_tf.core.langevin import value_gradient
from drl_tf.core.level_pairs import LevelPair
from drl_tf.experiments.bridges import mirrored

if TYPE_CHECKING:
    from drl_tf.core.diffusion import Schedule
    from drl_tf.core.preconditioning import PreconditionedEnergy
    from drl_tf.experiments.annealing import Carry
    from drl_tf.experiments.bridges import LogDensity

LogProbAt = Callable[[tf.Tensor], 'LogDensity']
Normal = tuple[tf.Tensor, tf.Tensor]  # Mean and variance.

_WALL = 6.0  # Of noise, in standard deviations.


@dataclasses.dataclass(frozen=True, eq=False)
class Walk:
    """The densities k = 0 to K of noisy images x, from pure noise down to noise level 0.

    Density 0 is a Gaussian: that of the highest level if the data were Gaussian. Density k is that of the
    model at level `angles[k]`.

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

        def carry(y: tf.Tensor, from_k: tf.Tensor, k: tf.Tensor, seed: tf.Tensor):
            here, there = self._angle(from_k, y), self._angle(k, y)
            low, high = self._wall(tf.maximum(from_k, k)), self._wall(tf.minimum(from_k, k))
            x = mirrored(y, self._wall(from_k))
            eps = noise.normal(seed, tf.shape(x))

            def log_ratio(pair: LevelPair, lower: tf.Tensor, upper: tf.Tensor, proposal: Normal) -> tf.Tensor:
                a, variance = pair.forward()
                way_up = (a[:, None, None, None] * lower, variance)
                return _log_reflected(upper, way_up, high) - _log_reflected(lower, proposal, low)

            def down():
                pair = LevelPair(there, here)
                proposal = pair.proposal(value_gradient(log_prob_at(here), x), x)
                lower = mirrored(level_pairs.draw(*proposal, eps), low)
                return lower, log_ratio(pair, lower, x, proposal)

            def up():
                pair = LevelPair(here, there)
                a, variance = pair.forward()
                upper = mirrored(level_pairs.draw(a[:, None, None, None] * x, variance, eps), high)
                proposal = pair.proposal(value_gradient(log_prob_at(there), upper), upper)
                return upper, -log_ratio(pair, x, upper, proposal)

            def stay():
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

    def near_wall(self, x: tf.Tensor) -> float:
        """Returns 0: walls are far from images, and chains that reach them need not lean on them."""
        return 0.0

    def gradients(self, order: np.ndarray, num_leapfrog: int) -> int:
        """Counts the network gradients of a chain: of the transitions, and to carry it.

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
        return tf.gather(tf.constant(np.cos(self.angles) + _WALL * np.sin(self.angles), tf.float32), k)


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


def _log_reflected(x: tf.Tensor, normal: Normal, wall: tf.Tensor) -> tf.Tensor:
    """Returns the log density of x drawn from a normal and reflected by the walls, float32 [n].

    A pixel comes from itself or from its mirror image at one of the two walls. Further images have no weight.
    """
    mean, variance = normal
    variance = variance[:, None, None, None]
    sources = tf.stack([x, 2 * wall - x, -2 * wall - x])
    logs = -((sources - mean) ** 2) / (2 * variance) - tf.math.log(2 * math.pi * variance) / 2
    return tf.reduce_sum(tf.reduce_logsumexp(logs, axis=0), axis=[1, 2, 3])
