"""Annealed importance sampling (Neal, Statistics and Computing 2001) with Hamiltonian Monte Carlo, over any
log densities.

From exact samples of p_0 = exp(l_0) / Z_0, for k = 1, 2, .., K:

    log w <- log w + l_k(y) - l_{k-1}(y),    then y moves by one transition that leaves p_k alone

after which E[w] = Z_K / Z_0. The same run over the densities in the opposite order, from exact samples of
p_K, gives Z_0 / Z_K. By Jensen's inequality log mean w lies below the logarithm of the ratio in expectation:
forward runs bound log Z_K from below and reverse ones, with the sign changed, from above.

TensorFlow Probability's HMC makes the transitions. Its `sample_annealed_importance_chain` (0.25) cannot
serve: it accepts by the log density that the former temperature left behind, which ruins the weights, and
knows two densities alone.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from drl_tf.core import noise

TARGET_ACCEPTANCE = 0.75
_GAIN, _WARM_UP = 0.5, 30
_SHORTEST = 0.75
_PILOT, _RUN = range(2)
_MOMENTUM, _JITTER = range(2)


class State(NamedTuple):
    """Chains under way.

    Attributes:
      y: where they are, float32 [n, ...].
      log_density: l_k(y) of the density at hand, float32 [n].
      log_weight: log w, float64 [n].
    """

    y: tf.Tensor
    log_density: tf.Tensor
    log_weight: tf.Tensor


class Estimate(NamedTuple):
    """What weights say of the logarithm of a ratio of partition functions.

    Attributes:
      log_mean: log of the mean weight; in expectation at most the true value.
      standard_error: of it, by the delta method. Too small where the effective sample size is.
      effective_sample_size: (sum w)^2 / sum w^2, from 1 to n.
      mean_log: mean of log w, a looser bound of less variance.
      mean_log_error: the standard error of it, which can be trusted.
    """

    log_mean: float
    standard_error: float
    effective_sample_size: float
    mean_log: float
    mean_log_error: float


class Annealer:
    """Moves chains from one density to the next.

    Args:
      density_of: callable, k int32 [] -> callable, y float32 [n, ...] -> l_k(y) float32 [n] (-inf outside the
        support).
      num_leapfrog: steps of the leapfrog integrator in a transition; with the first gradient it costs one
        more.
    """

    def __init__(self, density_of, num_leapfrog):
        self._density_of, self.num_leapfrog = density_of, num_leapfrog
        self._begin, self._move = (
            tf.function(function, autograph=False) for function in (self._begin_at, self._move_to)
        )

    def begin(self, k, y):
        """The state of chains that start at samples `y` of density k."""
        return State(y, self._begin(tf.constant(k), y), tf.zeros([tf.shape(y)[0]], tf.float64))

    def move(self, state, k, step_size, seed):
        """Weighs the chains for density k, and moves them by one transition.

        Each chain takes steps of its own length, from three quarters of `step_size` up, so that no direction
        can resonate in all.

        Args:
          state: a `State`.
          k: index of the density, int.
          step_size: of the leapfrog integrator, float.
          seed: int32 [2].

        Returns:
          The next `State`, the mean probability with which the proposals were accepted, and the root mean
          square of the gradient of l_k over the numbers of y: the inverse of the width of a round density.
        """
        state, acceptance, slope = self._move(state, tf.constant(k), tf.constant(step_size, tf.float32), seed)
        return state, float(acceptance), float(slope)

    def _begin_at(self, k, y):
        return self._density_of(k)(y)

    def _move_to(self, state, k, step_size, seed):
        jitter_shape = [tf.shape(state.y)[0], *[1] * (len(state.y.shape) - 1)]
        step_size *= tf.random.stateless_uniform(jitter_shape, noise.fold(seed, _JITTER), _SHORTEST, 1.0)
        kernel = tfp.mcmc.HamiltonianMonteCarlo(self._density_of(k), step_size, self.num_leapfrog)
        before = kernel.bootstrap_results(state.y)
        gain = tf.cast(before.accepted_results.target_log_prob, tf.float64) - tf.cast(
            state.log_density, tf.float64
        )
        y, after = kernel.one_step(state.y, before, seed=noise.fold(seed, _MOMENTUM))
        acceptance = tf.reduce_mean(tf.exp(tf.minimum(after.log_accept_ratio, 0.0)))
        slope = tf.sqrt(tf.reduce_mean(before.accepted_results.grads_target_log_prob[0] ** 2))
        return State(y, after.accepted_results.target_log_prob, state.log_weight + gain), acceptance, slope


def anneal(annealer, path, state, step_sizes, seed, done=0):
    """Runs chains along a path.

    Args:
      annealer: an `Annealer`.
      path: the densities in order, a sequence of k; chains start at the first.
      state: the `State` in which they are, after `done` steps.
      step_sizes: one for each density, indexed by k.
      seed: int32 [2].
      done: steps that were taken.

    Yields:
      After each step how many are done (of `len(path) - 1`), the `State`, and the mean probability of
      acceptance.
    """
    seed = noise.fold(seed, _RUN)
    for position in range(done + 1, len(path)):
        k = path[position]
        state, acceptance, _ = annealer.move(state, k, step_sizes[k], noise.fold(seed, position))
        yield position, state, acceptance


def pilot(annealer, path, y, step_size, seed):
    """Finds step sizes by a run whose weights are not used: a step size that looks at the chains would make
    them wrong.

    Args:
      annealer, path, seed: as in `anneal`.
      y: samples of the first density.
      step_size: where to begin.

    Yields:
      After each step how many are done, and the step sizes found so far, float64 [len(path)], indexed by k.
    """
    seed, log_step = noise.fold(seed, _PILOT), np.log(step_size)
    state, found = annealer.begin(path[0], y), np.full(len(path), float(step_size))
    for move, k in enumerate([path[0]] * _WARM_UP + list(path[1:])):
        state, acceptance, slope = annealer.move(state, k, np.exp(log_step), noise.fold(seed, move))
        quarter = np.pi / 2 / slope / annealer.num_leapfrog
        log_step = min(log_step + _GAIN * (acceptance - TARGET_ACCEPTANCE), np.log(quarter))
        found[k] = np.exp(log_step)
        yield max(0, move + 1 - _WARM_UP), found


def estimate(log_weights):
    """The `Estimate` of log weights, float [n]."""
    log_weights = np.asarray(log_weights, np.float64)
    largest, count = log_weights.max(), len(log_weights)
    weights = np.exp(log_weights - largest)
    size = weights.sum() ** 2 / np.sum(weights**2)
    error = np.sqrt((count / size - 1) / max(1, count - 1))
    spread = float(np.std(log_weights, ddof=min(1, count - 1)) / np.sqrt(count))
    return Estimate(
        float(largest + np.log(weights.mean())), float(error), float(size), float(log_weights.mean()), spread
    )


def annealed_importance(density_of, path, y, step_size, num_leapfrog, seed):
    """Estimates log Z of the last density of a path over that of its first; see above for which way it errs.

    Args:
      density_of, num_leapfrog: as in `Annealer`.
      path: as in `anneal`, each of 0..K once.
      y: samples of the first density, float32 [n, ...].
      step_size: where the pilot run, which finds one for each density, begins.
      seed: int32 [2].

    Returns:
      The `Estimate` and the last `State`, whose weights make its `y` samples of the last density.
    """
    annealer = Annealer(density_of, num_leapfrog)
    *_, (_, step_sizes) = pilot(annealer, path, y, step_size, seed)
    *_, (_, state, _) = anneal(annealer, path, annealer.begin(path[0], y), step_sizes, seed)
    return estimate(state.log_weight), state
