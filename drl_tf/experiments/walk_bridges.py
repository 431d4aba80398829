"""The densities between a Gaussian and level 0 of a model with energies at all noise levels.

Chains are carried from level to level by the model's own proposal, and back by adding noise. This needs far
fewer densities than a path along which images stay where they are (Doucet et al., NeurIPS 2022, arXiv
2208.07698).

A noisy image is x = A x_clean + S eps, and clean images lie in [-1, 1]. So beyond A, the density of x falls
at least as fast as that of the noise. The network learns this only where training images are, within a few S.
So beyond A + 3 S, the densities here have the Gaussian tails of the noise, whatever the network says. The log
density of an image of the data hardly changes: by 0.002 nats for digits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from drl_tf.core import level_pairs, noise
from drl_tf.core.langevin import LogDensity, value_gradient
from drl_tf.core.level_pairs import LevelPair

if TYPE_CHECKING:
    from drl_tf.core.diffusion import Schedule
    from drl_tf.core.preconditioning import PreconditionedEnergy
    from drl_tf.experiments.annealing import Carry

LogProbAt = Callable[[tf.Tensor], LogDensity]

TAIL = 3.0  # Where the tails begin, in standard deviations of the noise beyond black and white.


@dataclasses.dataclass(frozen=True, eq=False)
class Walk:
    """The densities k = 0 to K of noisy images x, from pure noise down to noise level 0.

    Density 0 is a Gaussian: that of the highest level if the data were Gaussian. Density k is that of the
    model at level `angles[k]`, with the tails of the noise.

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
        return {'path': 'walk', 'tail_in_S': TAIL}

    def density_of(self, log_prob_at: LogProbAt) -> Callable[[tf.Tensor], LogDensity]:
        """Returns a callable that maps an index k, int32 [], to the log of density k, up to a constant.

        Args:
          log_prob_at: callable that maps angles, float32 [n], to the log density of the model at these
            levels: a callable that maps x, float32 [n, H, W, C], to float32 [n].
        """
        log_prob_at = with_tails(log_prob_at)

        def density_of(k: tf.Tensor) -> LogDensity:
            def log_density(x: tf.Tensor) -> tf.Tensor:
                angle = self._angle(k, x)
                return tf.cond(k == 0, lambda: self.network.gaussian(x, angle), lambda: log_prob_at(angle)(x))

            return log_density

        return density_of

    def carry(self, log_prob_at: LogProbAt) -> Carry:
        """Returns the argument `carry` of `annealing.Annealer`.

        Downwards, x is drawn from the model's proposal, and upwards, noise is added. The log ratio is that of
        the two ways, log q(x_{t+1} | x_t) - log r(x_t | x_{t+1}), or minus it.

        Args:
          log_prob_at: as for `density_of`.
        """
        log_prob_at = with_tails(log_prob_at)

        def carry(
            y: tf.Tensor, from_k: tf.Tensor, k: tf.Tensor, seed: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            here, there = self._angle(from_k, y), self._angle(k, y)
            eps = noise.normal(seed, tf.shape(y))

            def down() -> tuple[tf.Tensor, tf.Tensor]:
                pair = LevelPair(there, here)
                proposal = pair.proposal(value_gradient(log_prob_at(here), y), y)
                lower = level_pairs.draw(*proposal, eps)
                return lower, pair.log_ratio(lower, y, *proposal)

            def up() -> tuple[tf.Tensor, tf.Tensor]:
                pair = LevelPair(here, there)
                upper = level_pairs.draw(*pair.forward(y), eps)
                proposal = pair.proposal(value_gradient(log_prob_at(there), upper), upper)
                return upper, -pair.log_ratio(y, upper, *proposal)

            def stay() -> tuple[tf.Tensor, tf.Tensor]:
                return y, tf.zeros_like(here)

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
        """Returns 0: these densities have no walls."""
        return 0.0

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


def with_tails(log_prob_at: LogProbAt) -> LogProbAt:
    """Gives the log density of noisy images the tails of the noise, beyond A + 3 S.

    There, the density of a pixel falls from its value at A + 3 S like a Gaussian of mean A and deviation S.

    Args:
      log_prob_at: callable that maps angles, float32 [n], to the log density at these levels: a callable that
        maps x, float32 [n, H, W, C], to float32 [n]. A and S are cosine and sine of an angle.

    Returns:
      A callable of the same kind.
    """

    def at_angle(angle: tf.Tensor) -> LogDensity:
        log_prob = log_prob_at(angle)
        A, S = (values[:, None, None, None] for values in (tf.cos(angle), tf.sin(angle)))
        edge = A + TAIL * S

        def log_density(x: tf.Tensor) -> tf.Tensor:
            beyond = tf.nn.relu(tf.abs(x) - edge) / S
            fall = tf.reduce_sum(beyond * (beyond / 2 + TAIL), axis=[1, 2, 3])
            return log_prob(tf.clip_by_value(x, -edge, edge)) - fall

        return log_density

    return at_angle
