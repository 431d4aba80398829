"""The densities between N(0, I) and exp F(y, 0) within a wall, along which chains are annealed.

exp F need not be integrable, so every density here is zero outside |y|_inf <= 6: also that of N(0, I), with
its normaliser. Chains are mirrored there: a leapfrog step that leaves the box comes back into it, instead of
having the whole proposal rejected.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

WALL = 6.0


@dataclasses.dataclass(frozen=True, eq=False)
class Bridges:
    """The densities between N(0, I) and exp F(y, 0), in order: exp of (1 - beta_k) F(y, t_k + 1) + beta_k
    F(y, t_k).

    F(., T) is log N(0, I). Every marginal is among them (beta_k = 1).

    Attributes:
      level: t_k, int32 [K + 1].
      beta: float64 [K + 1]; 0 for the first alone.
    """

    level: np.ndarray
    beta: np.ndarray

    @property
    def last(self):
        """K."""
        return len(self.level) - 1

    def density_of(self, density_at):
        """The log densities, mirrored at the wall, as `annealing.Annealer` takes them.

        Args:
          density_at: callable, level int32 [1] -> callable, y float32 [n, H, W, C] -> F(y, t) float32 [n].
        """
        top = int(self.level.max())

        def density_of(k):
            level, beta = tf.gather(self.level, k), tf.gather(tf.constant(self.beta, tf.float32), k)
            below, above = density_at(level[None]), density_at(tf.minimum(level + 1, top)[None])

            def mixed(y):
                upper = tf.cond(level == top, lambda: log_normal(y), lambda: above(y))
                return beta * below(y) + (1 - beta) * upper

            return lambda y: tf.cond(beta == 1, lambda: below(mirrored(y)), lambda: mixed(mirrored(y)))

        return density_of

    def gradients(self, order):
        """Gradients of the network that chains along densities of these indices, in order, take for each
        leapfrog step."""
        level, beta = self.level[order], self.beta[order]
        return int(np.sum(1 + ((beta > 0) & (beta < 1) & (level < self.level.max()))))


def spaced(schedule, num_steps):
    """Spaces densities evenly in the logarithm of the noise m_t S_t that y_t carries: between two levels
    evenly in that of the precision.

    Args:
      schedule: a `diffusion.Schedule`.
      num_steps: how many there are about; each level has one at least.
    """
    width = np.append(schedule.m * schedule.S[:-1], 1.0)
    ratio = np.log(width[1:] / width[:-1])
    counts = np.maximum(1, np.round(num_steps * np.abs(ratio) / np.abs(ratio).sum())).astype(int)
    levels, betas = [schedule.num_levels - 1], [0.0]
    for t in reversed(range(schedule.num_levels)):
        part = np.arange(1, counts[t] + 1) / counts[t]
        levels += [t] * counts[t]
        betas += list(np.expm1(2 * ratio[t] * part) / np.expm1(2 * ratio[t]))
    return Bridges(np.array(levels, np.int32), np.array(betas))


def mirrored(y):
    """The point of the box |y|_inf <= 6 that y, beyond it, is a mirror image of; float32 like y.

    Chains on log densities of it are chains on the box that its walls reflect: they leave the density within
    alone.
    """
    folded = WALL - tf.abs(tf.math.floormod(y + WALL, 4 * WALL) - 2 * WALL)
    return tf.where(tf.abs(y) <= WALL, y, folded)


def within_wall(log_density):
    """A log density with -inf outside the wall."""

    def log_prob(y):
        inside = tf.reduce_all(tf.abs(y) <= WALL, axis=tf.range(1, tf.rank(y)))
        return tf.where(inside, log_density(y), -np.inf)

    return log_prob


def log_normal(y):
    """log of the density of N(0, I) truncated at the wall, float32 [n]."""
    size = tf.cast(tf.size(y[0]), tf.float32)
    return -0.5 * tf.reduce_sum(y**2, axis=tf.range(1, tf.rank(y))) - size * (
        0.5 * math.log(2 * math.pi) + math.log(math.erf(WALL / 2**0.5))
    )


def sample_normal(shape, seed):
    """Draws from it, float32 of `shape`."""
    return tf.random.stateless_parameterized_truncated_normal(shape, seed, minvals=-WALL, maxvals=WALL)
