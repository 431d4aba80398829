"""The densities between N(0, I) and exp F(y, 0), along which chains are annealed.

exp F need not be integrable. So every density here, N(0, I) included, is zero outside the box |y|_inf <= 6,
and normalised within the box. The walls of the box reflect chains that would leave it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from drl_tf.core.diffusion import Schedule

LogDensity = Callable[[tf.Tensor], tf.Tensor]

WALL = 6.0
NEAR = 0.95 * WALL


@dataclasses.dataclass(frozen=True, eq=False)
class Bridges:
    """The densities k = 0 to K between N(0, I) and exp F(y, 0), where F(y, t) is the model's log density.

    F(y, t) is unnormalised. The noise levels of the model are t = 0 to T - 1; F(y, T) is the log density of
    N(0, I). Density k mixes two neighbouring levels, t_k and t_k + 1. Its log is, up to a constant,

        (1 - beta_k) F(y, t_k + 1) + beta_k F(y, t_k),    with beta_k from 0 to 1.

    Attributes:
      level: t_k for each k, int32 [K + 1].
      beta: beta_k for each k, float64 [K + 1] in [0, 1]; only beta_0 is 0.
      m_0: the factor between x_0, an image with the noise of level 0, and y_0.
    """

    level: np.ndarray
    beta: np.ndarray
    m_0: float

    @property
    def last(self) -> int:
        """K, the index of the last density."""
        return len(self.level) - 1

    @property
    def settings(self) -> dict[str, Any]:
        """What the figures depend on besides the number of steps, as JSON values."""
        return {'wall': WALL}

    def density_of(self, density_at: Callable[[tf.Tensor], LogDensity]) -> Callable[[tf.Tensor], LogDensity]:
        """Returns a callable that maps an index k to the log of density k, up to a constant.

        It is the argument of `annealing.Annealer`, which moves chains from one density to the next. k is
        int32 []. The log of density k is a callable that maps y, float32 [n, H, W, C], to float32 [n]. At a
        point outside the box |y|_inf <= 6, it has the value of the point's mirror image inside the box.

        Args:
          density_at: callable that maps a noise level t, int32 [1], to a callable that maps y, float32
            [n, H, W, C], to F(y, t), float32 [n].
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

    def carry(self, density_at: Callable[[tf.Tensor], LogDensity]) -> None:
        """Returns None: chains stay where they are on the way from one density to the next."""

    def first(self, shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
        """Draws from density 0, N(0, I) in the box, float32 of the given shape. `seed` is int32 [2]."""
        return sample_normal(shape, seed)

    def states(self, x_0: tf.Tensor) -> tf.Tensor:
        """Returns the states of chains at x_0, images with the noise of level 0: m_0 x_0 within the box."""
        return tf.clip_by_value(tf.cast(self.m_0, tf.float32) * x_0, -WALL, WALL)

    def near_wall(self, y: tf.Tensor) -> float:
        """Returns the share of y, float32 [n, H, W, C], with a coordinate within 5 % of the walls."""
        farthest = tf.reduce_max(tf.abs(mirrored(y)), axis=[1, 2, 3])
        return float(tf.reduce_mean(tf.cast(farthest > NEAR, tf.float32)))

    def gradients(self, order: np.ndarray, num_leapfrog: int) -> int:
        """Counts the network gradients of a chain.

        A density that mixes the network's outputs at two noise levels needs two gradients where any other
        density needs one.

        Args:
          order: indices k of the densities that the chain passes, int [m].
          num_leapfrog: leapfrog steps of a transition.
        """
        level = self.level[order]
        beta = self.beta[order]
        mixed = (beta > 0) & (beta < 1) & (level < self.level.max())
        return (num_leapfrog + 1) * int(np.sum(1 + mixed))


def spaced(schedule: Schedule, num_steps: int) -> Bridges:
    """Chooses the densities along which chains are annealed from N(0, I) to noise level 0 of a model.

    At noise level t, the image x_t has noise of standard deviation S_t. The input of the network is
    y_t = m_t x_t, whose noise has the standard deviation m_t S_t. The densities are evenly spaced in the
    logarithm of m_t S_t.

    Args:
      schedule: noise levels of the model, with the numbers m_t and S_t.
      num_steps: the approximate number of densities; each level has at least one.

    Returns:
      The densities between N(0, I) and exp F(y, 0), where F is the model's log density. The result is a
      `Bridges`, whose method `density_of` makes the argument of `annealing.Annealer`.
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
    return Bridges(np.array(levels, np.int32), np.array(betas), float(schedule.m[0]))


def mirrored(y: tf.Tensor) -> tf.Tensor:
    """Reflects points at the walls of the box |y|_inf <= 6 until they lie inside.

    With it, a chain can sample a density p restricted to the box. Give the chain the log density
    log p(mirrored(y)). Its states y may leave the box, but the points mirrored(y) are samples of the
    restricted p.

    Args:
      y: float32, of any shape.

    Returns:
      float32 of the shape of `y`, in [-6, 6].
    """
    folded = WALL - tf.abs(tf.math.floormod(y + WALL, 4 * WALL) - 2 * WALL)
    return tf.where(tf.abs(y) <= WALL, y, folded)


def within_wall(log_density: LogDensity) -> LogDensity:
    """Returns a log density that equals `log_density` in the box |y|_inf <= 6, and is -inf outside."""

    def log_prob(y: tf.Tensor) -> tf.Tensor:
        inside = tf.reduce_all(tf.abs(y) <= WALL, axis=tf.range(1, tf.rank(y)))
        return tf.where(inside, log_density(y), -np.inf)

    return log_prob


def log_normal(y: tf.Tensor) -> tf.Tensor:
    """Computes the normalised log density of N(0, I) truncated to the box |y|_inf <= 6.

    Args:
      y: float32 [n, ...]; all points must lie in the box.

    Returns:
      float32 [n].
    """
    size = tf.cast(tf.size(y[0]), tf.float32)
    log_z = 0.5 * math.log(2 * math.pi) + math.log(math.erf(WALL / 2**0.5))
    return -0.5 * tf.reduce_sum(y**2, axis=tf.range(1, tf.rank(y))) - size * log_z


def sample_normal(shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
    """Draws from N(0, I), truncated to the box |y|_inf <= 6.

    Args:
      shape: shape of the result.
      seed: int32 [2].

    Returns:
      float32, of the given shape.
    """
    return tf.random.stateless_parameterized_truncated_normal(shape, seed, minvals=-WALL, maxvals=WALL)
