"""Annealed importance sampling (Neal, Statistics and Computing 2001) with Hamiltonian Monte Carlo.

From exact samples of p_0 = exp(l_0) / Z_0, for k = 1, 2, .., K:

    log w <- log w + l_k(y) - l_{k-1}(y),    then one transition of y that leaves p_k invariant

The chains may be carried on the way: y becomes y' with density r(y' | y), and the weight is that of the pair,

    log w <- log w + l_k(y') + log q(y | y') - l_{k-1}(y) - log r(y' | y),

with any density q of the way back (Doucet et al., NeurIPS 2022, arXiv 2208.07698).

Then E[w] = Z_K / Z_0. The reverse order, from exact samples of p_K, gives Z_0 / Z_K. By Jensen's inequality,
the log of the mean of w is below the true log ratio in expectation. So forward runs bound log Z_K from below,
and reverse runs from above.

TensorFlow Probability's HMC makes the transitions; its `sample_annealed_importance_chain` (version 0.25) is
not used, because its weights are wrong and it takes only two densities.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from drl_tf.core import noise

LogDensity = Callable[[tf.Tensor], tf.Tensor]
Carry = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

TARGET_ACCEPTANCE = 0.75
_GAIN = 0.5  # How fast the pilot run adapts the logarithm of the step size.
_WARM_UP = 30  # Transitions of the pilot run at the first density.
_SHORTEST = 0.75  # The shortest step, as a share of the step size.
_PILOT, _RUN = range(2)
_MOMENTUM, _JITTER, _CARRY = range(3)


class State(NamedTuple):
    """The state of n Markov chains that move from density to density, with their importance weights.

    Attributes:
      y: positions of the chains, float32 [n, ...].
      log_density: log density of `y`, up to a constant, under the current density, float32 [n].
      log_weight: logarithm of the importance weight of each chain, float64 [n].
    """

    y: tf.Tensor
    log_density: tf.Tensor
    log_weight: tf.Tensor


class Estimate(NamedTuple):
    """An estimate of log(Z_K / Z_0), the log ratio of two normalising constants, from n importance weights w.

    Z_0 belongs to the density at which the chains start, Z_K to that at which they end.

    Attributes:
      log_mean: log of the mean of w; in expectation, at most the true value.
      standard_error: standard error of `log_mean`; too small if the effective sample size is small.
      effective_sample_size: (sum w)^2 / sum w^2, between 1 and n.
      mean_log: mean of log w, a looser lower bound with less variance.
      mean_log_error: standard error of `mean_log`, always reliable.
    """

    log_mean: float
    standard_error: float
    effective_sample_size: float
    mean_log: float
    mean_log_error: float


class Annealer:
    """Moves chains from one density to the next by Hamiltonian Monte Carlo (HMC).

    `begin` makes the `State` of chains at their first density, and `move` takes them to another density. The
    densities p_k have the indices k = 0, 1, ..

    Args:
      density_of: callable that maps k, int32 [], to the log of p_k up to a constant: a callable that maps y,
        float32 [n, ...], to float32 [n].
      num_leapfrog: leapfrog steps of an HMC transition, which costs `num_leapfrog` + 1 gradients.
      carry: callable (y, from_k, k, seed) that draws y' given y on the way from density `from_k` to density
        `k`; both are int32 []. It returns y', like `y`, and log q(y | y') - log r(y' | y), float32 [n]. None:
        y' is y.
    """

    def __init__(
        self,
        density_of: Callable[[tf.Tensor], LogDensity],
        num_leapfrog: int,
        carry: Carry | None = None,
    ):
        self._density_of = density_of
        self.num_leapfrog = num_leapfrog
        self._carry = carry
        self._begin = tf.function(self._begin_at, autograph=False)
        self._move = tf.function(self._move_to, autograph=False)

    def begin(self, k: int, y: tf.Tensor) -> State:
        """Starts chains at samples of a density.

        Args:
          k: index of the density.
          y: samples of density k, the first positions of n chains, float32 [n, ...].

        Returns:
          The state of the chains, with importance weights 1: the argument `state` of `move` and `anneal`.
        """
        return State(y, self._begin(tf.constant(k), y), tf.zeros([tf.shape(y)[0]], tf.float64))

    def move(
        self, state: State, from_k: int, k: int, step_size: float, seed: tf.Tensor
    ) -> tuple[State, float, float]:
        """Moves the chains to density k: carries them, updates their weights, and makes one HMC transition.

        Each chain draws its own step size, from 3/4 of `step_size` to `step_size`, to avoid periodic
        trajectories.

        Args:
          state: the state of the chains.
          from_k: index of the density at which they are.
          k: index of the density to move to.
          step_size: largest step size of the leapfrog integrator.
          seed: int32 [2].

        Returns:
          A triple: the next state; the mean acceptance probability; and the root mean square, over chains and
          coordinates, of the gradient of log p_k before the transition. If p_k is Gaussian with standard
          deviation sigma, this root is about 1 / sigma.
        """
        ks = tf.constant(from_k), tf.constant(k)
        state, acceptance, slope = self._move(state, *ks, tf.constant(step_size, tf.float32), seed)
        return state, float(acceptance), float(slope)

    def _begin_at(self, k: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return self._density_of(k)(y)

    def _move_to(
        self, state: State, from_k: tf.Tensor, k: tf.Tensor, step_size: tf.Tensor, seed: tf.Tensor
    ) -> tuple[State, tf.Tensor, tf.Tensor]:
        carried, log_ratio = state.y, 0.0
        if self._carry:
            carried, log_ratio = self._carry(state.y, from_k, k, noise.fold(seed, _CARRY))
        jitter_shape = [tf.shape(state.y)[0], *[1] * (len(state.y.shape) - 1)]
        step_size *= tf.random.stateless_uniform(jitter_shape, noise.fold(seed, _JITTER), _SHORTEST, 1.0)
        kernel = tfp.mcmc.HamiltonianMonteCarlo(self._density_of(k), step_size, self.num_leapfrog)
        before = kernel.bootstrap_results(carried)
        log_density = tf.cast(before.accepted_results.target_log_prob, tf.float64)
        gain = log_density - tf.cast(state.log_density, tf.float64) + tf.cast(log_ratio, tf.float64)
        y, after = kernel.one_step(carried, before, seed=noise.fold(seed, _MOMENTUM))
        acceptance = tf.reduce_mean(tf.exp(tf.minimum(after.log_accept_ratio, 0.0)))
        slope = tf.sqrt(tf.reduce_mean(before.accepted_results.grads_target_log_prob[0] ** 2))
        return State(y, after.accepted_results.target_log_prob, state.log_weight + gain), acceptance, slope


def anneal(
    annealer: Annealer,
    path: Sequence[int],
    state: State,
    step_sizes: np.ndarray,
    seed: tf.Tensor,
    done: int = 0,
) -> Iterator[tuple[int, State, float]]:
    """Runs chains along a path of densities, with one HMC transition at each density after the first.

    Before each transition, the chains are carried and their importance weights updated.

    Args:
      annealer: moves the chains.
      path: the indices k of the densities in order; an index may occur repeatedly. Chains start at the first.
      state: the state of the chains after `done` transitions.
      step_sizes: step size for each density, indexed by k, float [number of densities].
      seed: int32 [2].
      done: number of transitions that an earlier run made; 0: the chains are at the first density.

    Yields:
      After each transition: the number of transitions made, the state, and the mean acceptance probability.
    """
    seed = noise.fold(seed, _RUN)
    for position in range(done + 1, len(path)):
        from_k, k = path[position - 1 : position + 1]
        state, acceptance, _ = annealer.move(state, from_k, k, step_sizes[k], noise.fold(seed, position))
        yield position, state, acceptance


def pilot(
    annealer: Annealer, path: Sequence[int], y: tf.Tensor, step_size: float, seed: tf.Tensor
) -> Iterator[tuple[int, np.ndarray]]:
    """Finds step sizes for HMC with pilot chains, whose importance weights are not used.

    Adapting the step sizes in the other chains would bias their importance weights. The pilot chains make 30
    transitions at the first density, then one at each later density. The step size shrinks if the mean
    acceptance is below 0.75, and grows, up to a limit, if it is above.

    Args:
      annealer: moves the chains.
      path: the indices k of the densities in order, each once.
      y: samples of the first density, float32 [n, ...].
      step_size: step size to begin with.
      seed: int32 [2].

    Yields:
      After each transition: the position in `path`, 0 for the first 30 transitions; and the step size for
      each density, indexed by k, float64 [number of densities]. Densities that the chains have not reached
      yet have `step_size`.
    """
    seed = noise.fold(seed, _PILOT)
    log_step = np.log(step_size)
    state = annealer.begin(path[0], y)
    found = np.full(len(path), float(step_size))
    order = [path[0]] * (_WARM_UP + 1) + list(path[1:])
    for move, (from_k, k) in enumerate(itertools.pairwise(order)):
        state, acceptance, slope = annealer.move(state, from_k, k, np.exp(log_step), noise.fold(seed, move))
        quarter = np.pi / 2 / slope / annealer.num_leapfrog
        log_step = min(log_step + _GAIN * (acceptance - TARGET_ACCEPTANCE), np.log(quarter))
        found[k] = np.exp(log_step)
        yield max(0, move + 1 - _WARM_UP), found


def estimate(log_weights: np.ndarray) -> Estimate:
    """Estimates the log ratio of two normalising constants from the importance weights of n annealed chains.

    The ratio is Z of the density at which the chains end, divided by Z of the density at which they start.

    Args:
      log_weights: log of the importance weight of each chain at its end, float [n].
    """
    log_weights = np.asarray(log_weights, np.float64)
    largest = log_weights.max()
    count = len(log_weights)
    weights = np.exp(log_weights - largest)
    size = weights.sum() ** 2 / np.sum(weights**2)
    error = np.sqrt((count / size - 1) / max(1, count - 1))
    spread = float(np.std(log_weights, ddof=min(1, count - 1)) / np.sqrt(count))
    log_mean = float(largest + np.log(weights.mean()))
    return Estimate(log_mean, float(error), float(size), float(log_weights.mean()), spread)


def annealed_importance(
    density_of: Callable[[tf.Tensor], LogDensity],
    path: Sequence[int],
    y: tf.Tensor,
    step_size: float,
    num_leapfrog: int,
    seed: tf.Tensor,
) -> tuple[Estimate, State]:
    """Estimates log(Z of the last density / Z of the first density) by annealed importance sampling.

    The densities p_k have the indices k = 0 to K, and Z is the normalising constant of each.

    Args:
      density_of: callable that maps k, int32 [], to the log of p_k up to a constant: a callable that maps y,
        float32 [n, ...], to float32 [n].
      path: the indices k in the order in which chains pass the densities, each once.
      y: samples of the first density, float32 [n, ...].
      step_size: first step size of the pilot run, which adapts it.
      num_leapfrog: leapfrog steps of an HMC transition.
      seed: int32 [2].

    Returns:
      A pair: the estimate; and the last state of the chains. Its positions, weighted by its importance
      weights, are samples of the last density.

    Example:
      log_ratio, _ = annealed_importance(density_of, range(101), y, 0.3, num_leapfrog=3, seed=[0, 0])
    """
    annealer = Annealer(density_of, num_leapfrog)
    *_, (_, step_sizes) = pilot(annealer, path, y, step_size, seed)
    *_, (_, state, _) = anneal(annealer, path, annealer.begin(path[0], y), step_sizes, seed)
    return estimate(state.log_weight), state
