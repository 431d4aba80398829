"""The densities between N(0, I) and exp F(y, 0) within a wall, along which chains are annealed.

exp F need not be integrable, so every density here is zero outside |y|_inf <= 6, N(0, I) included; its
normaliser accounts for that. The wall reflects: a leapfrog step that leaves the box re-enters it, so that the
proposal need not be rejected.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from drl_tf.core.diffusion import Schedule

LogDensity = Callable[[tf.Tensor], tf.Tensor]

WALL = 6.0


@dataclasses.dataclass(frozen=True, eq=False)
class Bridges:
    """The densities between N(0, I) and exp F(y, 0), in order.

    Density k is exp of (1 - beta_k) F(y, t_k + 1) + beta_k F(y, t_k), where F(., T) is log N(0, I). The
    densities exp F(y, t) of all levels t are among them, where beta_k = 1.

    Attributes:
      level: t_k, int32 [K + 1].
      beta: float64 [K + 1]; only the first is 0.
    """

    level: np.ndarray
    beta: np.ndarray

    @property
    def last(self) -> int:
        """K."""
        return len(self.level) - 1

    def density_of(self, density_at: Callable[[tf.Tensor], LogDensity]) -> Callable[[tf.Tensor], LogDensity]:
        """The log densities, reflected at the wall, for `annealing.Annealer`.

        Args:
          density_at: callable, level int32 [1] -> callable, y float32 [n, H, W, C] -> F(y, t) float32 [n].
        """
        top = int(self.level.max())

        def density_of(k: tf.Tensor) -> LogDensity:
            level = tf.gather(self.level, k)
            beta = tf.gather(tf.constant(self.beta, tf.float32), k)
            below = density_at(level[None])
            above = density_at(tf.minimum(level + 1, top)[None])

            def mixed(y: tf.Tensor) -> tf.Tensor:
                upper = tf.cond(level == top, lambda: log_normal(y), lambda: above(y))
                return beta * below(y) + (1 - beta) * upper

            return lambda y: tf.cond(beta == 1, lambda: below(mirrored(y)), lambda: mixed(mirrored(y)))

        return density_of

    def gradients(self, order: np.ndarray) -> int:
        """Gradients of the network for a leapfrog step at each of these densities, given by index, in all."""
        level = self.level[order]
        beta = self.beta[order]
        return int(np.sum(1 + ((beta > 0) & (beta < 1) & (level < self.level.max()))))


def spaced(schedule: Schedule, num_steps: int) -> Bridges:
    """Spaces the densities evenly in the logarithm of the noise.

    The number of densities of a level is proportional to its change of log(m_t S_t), where m_t S_t is the
    standard deviation of the noise in y_t. Within a level, log of the precision 1 / (m_t S_t)^2 has equal
    steps.

    Args:
      schedule: the levels of the model.
      num_steps: the approximate number of densities; each level has at least one.
    """
    width = np.append(schedule.m * schedule.S[:-1], 1.0)
    ratio = np.log(width[1:] / width[:-1])
    counts = np.maximum(1, np.round(num_steps * np.abs(ratio) / np.abs(ratio).sum())).astype(int)
    levels = [schedule.num_levels - 1]
    betas = [0.0]
    for t in reversed(range(schedule.num_levels)):
        part = np.arange(1, counts[t] + 1) / counts[t]
        levels += [t] * counts[t]
        betas += list(np.expm1(2 * ratio[t] * part) / np.expm1(2 * ratio[t]))
    return Bridges(np.array(levels, np.int32), np.array(betas))


def mirrored(y: tf.Tensor) -> tf.Tensor:
    """Reflects points into the box |y|_inf <= 6; float32 like y.

    A chain on log_density(mirrored(y)) is reflected by the walls of the box and keeps the density within them
    invariant.
    """
    folded = WALL - tf.abs(tf.math.floormod(y + WALL, 4 * WALL) - 2 * WALL)
    return tf.where(tf.abs(y) <= WALL, y, folded)


def within_wall(log_density: LogDensity) -> LogDensity:
    """A log density that is -inf outside the wall."""

    def log_prob(y: tf.Tensor) -> tf.Tensor:
        inside = tf.reduce_all(tf.abs(y) <= WALL, axis=tf.range(1, tf.rank(y)))
        return tf.where(inside, log_density(y), -np.inf)

    return log_prob


def log_normal(y: tf.Tensor) -> tf.Tensor:
    """Log density of N(0, I) truncated at the wall, float32 [n]."""
    size = tf.cast(tf.size(y[0]), tf.float32)
    log_z = 0.5 * math.log(2 * math.pi) + math.log(math.erf(WALL / 2**0.5))
    return -0.5 * tf.reduce_sum(y**2, axis=tf.range(1, tf.rank(y))) - size * log_z


def sample_normal(shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
    """Draws from N(0, I) truncated at the wall, float32 of `shape`."""
    return tf.random.stateless_parameterized_truncated_normal(shape, seed, minvals=-WALL, maxvals=WALL)
