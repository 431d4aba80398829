"""Metropolis-adjusted chains on any log density: MALA and HMC.

A corrector is a Markov chain that moves draws closer to a given density. Each transition draws a momentum
p ~ N(0, I), and proposes a new state by leapfrog steps of size delta from the state y:

    p <- p + delta / 2 grad log p(y),    y <- y + delta p,    p <- p + delta / 2 grad log p(y)

The transition accepts the end (y', p') with probability min(1, exp(log p(y') - |p'|^2 / 2 - log
p(y) + |p|^2 / 2)). So the chain leaves the density invariant at any step size. A `State` stores its log
density and its gradient, so a leapfrog step costs one gradient. `langevin.langevin` is the chain that accepts
every step.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from drl_tf.core.diffusion import Schedule
from drl_tf.core.langevin import LogDensity

LEAPFROGS = 3
_SHORTEST = 0.5  # The shortest step of HMC, as a share of delta.
# Acceptance at which chains mix fastest in high dimensions: Roberts and Rosenthal 1998; Beskos et al. 2013.
TARGET_ACCEPTANCE = {'mala': 0.574, 'hmc': 0.651}
ADJUSTED = tuple(TARGET_ACCEPTANCE)


class State(NamedTuple):
    """The states of B Markov chains on a density p, with the values that the next transition needs.

    Attributes:
      y: the states, float32 [B, ...].
      log_density: log p(y) + const, float32 [B].
      gradient: grad log p(y), of the shape of `y`.

    Examples:
      >>> State(tf.zeros([1, 2]), tf.zeros([1]), tf.zeros([1, 2])).y.shape
      TensorShape([1, 2])
    """

    y: tf.Tensor
    log_density: tf.Tensor
    gradient: tf.Tensor


class Draws(NamedTuple):
    """The random numbers of B chains. Each attribute maps the index k of a transition, from 0, to numbers.

    Attributes:
      momentum: callable, k -> standard normal noise, float32, of the shape of the states.
      uniform: callable, k -> uniform numbers in [0, 1), float32 [B]. Transition k accepts the proposal of a
        chain if the chain's number is below the acceptance probability.
      length: callable, k -> uniform numbers in [0, 1), float32 [B]. `hmc` varies its step size by them;
        `mala` ignores them.

    Examples:
      >>> draws = Draws(lambda k: tf.zeros([1, 2]), *2 * [lambda k: tf.constant([0.5])])
      >>> draws.uniform(0).numpy()
      array([0.5], dtype=float32)
    """

    momentum: Callable[[tf.Tensor], tf.Tensor]
    uniform: Callable[[tf.Tensor], tf.Tensor]
    length: Callable[[tf.Tensor], tf.Tensor]


def state_at(log_prob: LogDensity, y: tf.Tensor) -> State:
    """Computes a log density and its gradient at y: the `State` from which `leapfrog` can begin.

    Args:
      log_prob: callable that maps y, float32 [B, ...], to log p(y) + const, float32 [B].
      y: states of B chains, float32 [B, ...].

    Examples:
      >>> state_at(lambda y: -(y**2) / 2, tf.constant([1.0, 2.0])).gradient.numpy()
      array([-1., -2.], dtype=float32)
    """
    with tf.GradientTape() as tape:
        tape.watch(y)
        log_density = log_prob(y)
    return State(y, log_density, tape.gradient(log_density, y))


def leapfrog(
    log_prob: LogDensity, state: State, step_size: float | tf.Tensor, momentum: tf.Tensor, num_leapfrogs: int
) -> tuple[State, tf.Tensor]:
    """Makes leapfrog steps of Hamiltonian dynamics (Neal, Handbook of MCMC 2011, equation 5.18).

    A step moves the state y and the momentum p. Each step computes one gradient.

    Args:
      log_prob: callable that maps y, float32 [B, ...], to log p(y) + const, float32 [B].
      state: where the steps begin: a `State`, the states y with log p(y) and its gradient, from `state_at`.
      step_size: delta, float32, a scalar or a tensor that broadcasts against `state.y`.
      momentum: the momentum p where the steps begin, of the shape of `state.y`.
      num_leapfrogs: number of steps, at least 1.

    Returns:
      state: the `State` after the last step, with the new states in `state.y`.
      log_ratio: log of the acceptance ratio, float32 [B]: the value of log p(y) - |p|^2 / 2 after the last
        step minus its value at the beginning.

    Examples:
      Small steps keep the total energy -log p(y) + |p|^2 / 2, so the log of the ratio is near 0.

      >>> log_prob = lambda y: -tf.reduce_sum(y**2, axis=1) / 2
      >>> state = state_at(log_prob, tf.ones([1, 2]))
      >>> end, log_ratio = leapfrog(log_prob, state, 0.01, tf.ones([1, 2]), num_leapfrogs=3)
      >>> end.y.numpy().round(3), abs(log_ratio.numpy()).round(3)
      (array([[1.03, 1.03]], dtype=float32), array([0.], dtype=float32))
    """
    start = state.log_density - _kinetic(momentum)
    for _ in range(num_leapfrogs):
        momentum += step_size / 2 * state.gradient
        state = state_at(log_prob, state.y + step_size * momentum)
        momentum += step_size / 2 * state.gradient
    return state, state.log_density - _kinetic(momentum) - start


def _kinetic(momentum: tf.Tensor) -> tf.Tensor:
    """Returns the kinetic energy |p|^2 / 2, float32 [B]."""
    return tf.reduce_sum(momentum**2, axis=list(range(1, len(momentum.shape)))) / 2


def mala(
    log_prob: LogDensity,
    y: tf.Tensor,
    step_size: float | tf.Tensor,
    num_steps: int | tf.Tensor,
    draws: Draws,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs K steps of the Metropolis-adjusted Langevin algorithm (Roberts and Tweedie 1996).

    Each step proposes y + delta^2 / 2 grad log p(y) + delta z, with z ~ N(0, I), and accepts or rejects it.
    This equals an HMC transition with one leapfrog step of size delta (Neal 2011, section 5.2). K steps cost
    K + 1 gradients.

    Args:
      log_prob: callable that maps y, float32 [B, ...], to log p(y) + const, float32 [B].
      y: first states of B chains, float32 [B, ...].
      step_size: delta, float32, a scalar or a tensor that broadcasts against y.
      num_steps: K, one int for all chains, or int32 [B].
      draws: the random numbers of the chains: a `Draws`, whose three functions take the index of a step and
        return noise for it, as in the example.

    Returns:
      y: the states after K steps, of the shape of the argument y.
      acceptance: each chain's acceptance probability, averaged over its steps, float32 [B]; 0 for K = 0.

    Examples:
      Chains on a standard normal density reach variance 1, and accept about 90 % of the steps:
      >>> from drl_tf.core import noise
      >>> log_prob = lambda y: -tf.reduce_sum(y**2, axis=1) / 2
      >>> draws = Draws(lambda k: noise.normal(noise.fold([0, 1], k), [20000, 1]),
      ...               lambda k: noise.uniform(noise.fold([0, 2], k), 20000),
      ...               lambda k: noise.uniform(noise.fold([0, 3], k), 20000))
      >>> y, acceptance = mala(log_prob, tf.zeros([20000, 1]), 1.0, 50, draws)
      >>> round(float(np.var(y)), 1), round(float(np.mean(acceptance)), 1)
      (1.0, 0.9)
    """
    return _chain(log_prob, y, step_size, num_steps, draws, num_leapfrogs=1)


def hmc(
    log_prob: LogDensity,
    y: tf.Tensor,
    step_size: float | tf.Tensor,
    num_steps: int | tf.Tensor,
    draws: Draws,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs K transitions of Hamiltonian Monte Carlo with 3 leapfrog steps each (Neal 2011, section 5.3).

    For each transition, each chain draws a step size between delta / 2 and delta. With a fixed step size, a
    trajectory can end where it began, and the chain would never mix (Neal 2011, section 5.3.2). K transitions
    cost 3 K + 1 gradients.

    Args:
      log_prob: callable that maps y, float32 [B, ...], to log p(y) + const, float32 [B].
      y: first states of B chains, float32 [B, ...].
      step_size: delta, the largest step size, float32, a scalar or a tensor that broadcasts against y.
      num_steps: K, one int for all chains, or int32 [B].
      draws: the random numbers of the chains: a `Draws`, whose three functions take the index of a
        transition and return noise for it, as in the example.

    Returns:
      y: the states after K transitions, of the shape of the argument y.
      acceptance: each chain's acceptance probability, averaged over its transitions, float32 [B]; zero for
        K = 0.

    Examples:
      >>> from drl_tf.core import noise
      >>> log_prob = lambda y: -tf.reduce_sum(y**2, axis=1) / 2
      >>> draws = Draws(lambda k: noise.normal(noise.fold([0, 1], k), [20000, 1]),
      ...               lambda k: noise.uniform(noise.fold([0, 2], k), 20000),
      ...               lambda k: noise.uniform(noise.fold([0, 3], k), 20000))
      >>> y, acceptance = hmc(log_prob, tf.zeros([20000, 1]), 0.3, 10, draws)
      >>> round(float(np.var(y)), 1), round(float(np.mean(acceptance)), 1)
      (1.0, 1.0)
    """
    return _chain(log_prob, y, step_size, num_steps, draws, LEAPFROGS)


def _chain(
    log_prob: LogDensity,
    y: tf.Tensor,
    step_size: float | tf.Tensor,
    num_steps: int | tf.Tensor,
    draws: Draws,
    num_leapfrogs: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs K transitions; see `mala` for arguments and results."""
    num_steps = tf.broadcast_to(num_steps, tf.shape(y)[:1])

    def transition(k: tf.Tensor, state: State, total: tf.Tensor) -> tuple:
        size = step_size
        if num_leapfrogs > 1:
            size *= _per_chain(_SHORTEST + (1 - _SHORTEST) * draws.length(k), y)
        proposed, log_ratio = leapfrog(log_prob, state, size, draws.momentum(k), num_leapfrogs)
        probability = tf.exp(tf.minimum(log_ratio, 0.0))
        accepted = (draws.uniform(k) < probability) & (k < num_steps)
        moved = State(*(_where(accepted, new, old) for new, old in zip(proposed, state, strict=True)))
        return k + 1, moved, tf.where(k < num_steps, total + probability, total)

    longest = tf.reduce_max(num_steps)
    state = (tf.constant(0), state_at(log_prob, y), tf.zeros(tf.shape(y)[:1]))
    _, end, total = tf.while_loop(lambda k, *_: k < longest, transition, state, parallel_iterations=1)
    return end.y, tf.math.divide_no_nan(total, tf.cast(num_steps, tf.float32))


def _where(chosen: tf.Tensor, new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
    """Returns `new` for the chosen chains, bool [B], and `old` for the others."""
    return tf.where(_per_chain(chosen, new), new, old)


def _per_chain(values: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Reshapes one value per chain, [B], to broadcast against `y`, [B, ...]."""
    return tf.reshape(values, tf.concat([tf.shape(values), tf.ones([len(y.shape) - 1], tf.int32)], axis=0))


def gradients(corrector: str, num_steps: int) -> int:
    """Returns how many gradients of the log density a chain of K steps computes per image.

    Args:
      corrector: the kind of chain: 'langevin', 'mala', 'hmc', or 'none' (no chain, K = 0).
      num_steps: K, at least 0. For 'hmc', a step is a transition.

    Examples:
      >>> [gradients(corrector, 10) for corrector in ('langevin', 'mala', 'hmc')]
      [10, 11, 31]
    """
    if corrector not in ADJUSTED or not num_steps:
        return num_steps
    return 1 + num_steps * (LEAPFROGS if corrector == 'hmc' else 1)


def curvature(schedule: Schedule) -> np.ndarray:
    """Returns L_t, a bound on the curvature of -log p(y_t | x_{t+1}) at each level t, float64 [T].

    y_t = m_t x_t is the scaled noisy image at level t, and x_{t+1} the noisy image one level above. S_t is
    the standard deviation of the noise in x_t, and s_{t+1} that of the noise added from x_t to x_{t+1}. r_t
    is the attribute `conditional` of the schedule, 1 or 0. The curvature is at most

        L_t = 1 / (m_t S_t)^2 + r_t / s_{t+1}^2

    if the model's log density of y_t is exact.

    Args:
      schedule: the noise levels with m, S, s and r, a `Schedule`.

    Examples:
      >>> from drl_tf.core import diffusion
      >>> curvature(diffusion.cosine()).round(1).tolist()[1:]
      [24.7, 9.5, 6.1, 5.6, 1.1]
    """
    return (schedule.m * schedule.S[:-1]) ** -2 + schedule.conditional / schedule.s[1:] ** 2


def step_sizes(schedule: Schedule, q: float | tf.Tensor) -> tf.Tensor:
    """Returns the step size delta_t = sqrt(2 q / L_t) of the chains at each level t, float32 [T].

    L_t bounds the curvature of the log density that a chain at level t draws from; `curvature` computes it.
    The division by L_t makes one q suit all levels. Langevin steps that are never rejected make the variance
    too large: in a direction of curvature L_t, by the factor 1 / (1 - q / 2).

    Args:
      schedule: the noise levels and their constants, a `Schedule`.
      q: relative step size above 0; one number for all levels, or float32 [T].

    Examples:
      >>> from drl_tf.core import diffusion
      >>> step_sizes(diffusion.cosine(), 0.1).numpy()[1:].round(2)
      array([0.09, 0.15, 0.18, 0.19, 0.42], dtype=float32)
    """
    unit = tf.constant(np.sqrt(2 / curvature(schedule)), tf.float32)
    return unit * tf.sqrt(tf.cast(q, tf.float32))
