"""Long Markov chains on any log density, and diagnostics of their convergence.

The transitions are those of TensorFlow Probability. 'hmc' (Neal, Handbook of MCMC 2011, chapter 5) and 'mala'
accept or reject proposals, so that the density is invariant at any step size. 'langevin' accepts all
proposals, as in training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from drl_tf.core import noise

TARGET_ACCEPTANCE = 0.75
_FEWEST = 8  # Diagnostics need this many transitions.
_SHORTEST = 0.2  # The shortest step, as a share of the step size.
_MOVE, _JITTER = range(2)


class _Jittered(tfp.mcmc.HamiltonianMonteCarlo):
    """HMC in which each chain draws a random step size for each transition.

    It is uniform between 1/5 of `step_size` and `step_size`. With equal step sizes, chains could oscillate
    without mixing (Neal 2011, section 5.3.2).
    """

    def one_step(
        self, current_state: tf.Tensor, previous_kernel_results: Any, seed: Any = None
    ) -> tuple[tf.Tensor, Any]:
        """Makes a transition; arguments and results are those of `tfp.mcmc.TransitionKernel.one_step`."""
        accepted = previous_kernel_results.accepted_results
        shape = [tf.shape(current_state)[0], *[1] * (len(current_state.shape) - 1)]
        lengths = tf.random.stateless_uniform(shape, noise.fold(seed, _JITTER), _SHORTEST, 1.0)
        jittered = previous_kernel_results._replace(
            accepted_results=accepted._replace(step_size=accepted.step_size * lengths)
        )
        state, results = super().one_step(current_state, jittered, seed=noise.fold(seed, _MOVE))
        parts = {
            name: getattr(results, name)._replace(step_size=accepted.step_size)
            for name in ('accepted_results', 'proposed_results')
        }
        return state, results._replace(**parts)


def kernel(
    log_prob: Callable[[tf.Tensor], tf.Tensor],
    method: str,
    step_size: Any,
    num_leapfrogs: int,
    burn_in: int,
) -> tfp.mcmc.TransitionKernel:
    """Returns the transition kernel of Markov chains (HMC, MALA or Langevin) for TensorFlow Probability.

    Args:
      log_prob: callable that maps y, float32 [n, ...], to its log density up to a constant, float32 [n].
      method: 'hmc', 'mala' (HMC with a single leapfrog step) or 'langevin' (no rejection).
      step_size: for 'hmc' and 'mala', the step size to begin with. For 'langevin', the fixed step delta of
        y + delta^2 / 2 grad log_prob(y) + delta eps.
      num_leapfrogs: leapfrog steps of a transition of 'hmc'; each costs one gradient.
      burn_in: number of transitions in which the step size of 'hmc' and 'mala' adapts to an acceptance of
        0.75; afterwards it is fixed.
    """
    if method == 'langevin':
        return tfp.mcmc.UncalibratedLangevin(log_prob, tf.convert_to_tensor(step_size) ** 2)
    hmc_class = _Jittered if method == 'hmc' else tfp.mcmc.HamiltonianMonteCarlo
    hmc = hmc_class(log_prob, step_size, gradients(method, num_leapfrogs))
    return tfp.mcmc.DualAveragingStepSizeAdaptation(hmc, burn_in, target_accept_prob=TARGET_ACCEPTANCE)


def gradients(method: str, num_leapfrogs: int) -> int:
    """Returns how many gradients of the log density one transition costs.

    Args:
      method: 'hmc', 'mala' or 'langevin'.
      num_leapfrogs: leapfrog steps of a transition of 'hmc'.
    """
    return num_leapfrogs if method == 'hmc' else 1


def advance(
    kernel: tfp.mcmc.TransitionKernel,
    y: tf.Tensor,
    results: Any,
    seed: tf.Tensor,
    first: tf.Tensor,
    count: tf.Tensor,
) -> tuple[tf.Tensor, Any, tf.Tensor, tf.Tensor]:
    """Makes `count` transitions of n Markov chains with a kernel of TensorFlow Probability.

    The noise of transition k depends on (seed, k) only, so chains can be interrupted and continued.

    Args:
      kernel: a transition kernel, from the function `kernel`.
      y: states of the chains, float32 [n, ...].
      results: the state of the kernel, such as its step size; at first, `kernel.bootstrap_results(y)`.
      seed: int32 [2].
      first: number of transitions made before, int32 [].
      count: number of transitions to make, int32 [].

    Returns:
      A tuple: `y` after the transitions; `results` after them; minus the log density of each state on the
      way, float32 [count, n]; and whether each proposal was accepted, bool [count, n].
    """
    energies = tf.TensorArray(tf.float32, count, element_shape=y.shape[:1])
    accepted = tf.TensorArray(tf.bool, count, element_shape=y.shape[:1])

    def transition(
        k: tf.Tensor, y: tf.Tensor, results: Any, energies: tf.TensorArray, accepted: tf.TensorArray
    ) -> tuple:
        y, results = kernel.one_step(y, results, seed=noise.fold(seed, first + k))
        log_density, moved = _seen(results)
        return k + 1, y, results, energies.write(k, -log_density), accepted.write(k, moved)

    state = (tf.constant(0), y, results, energies, accepted)
    _, y, results, energies, accepted = tf.while_loop(
        lambda k, *_: k < count, transition, state, parallel_iterations=1
    )
    return y, results, energies.stack(), accepted.stack()


def _seen(results: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the log density of each chain, and whether the proposal was accepted, from kernel results."""
    if not hasattr(results, 'inner_results'):
        return results.target_log_prob, tf.ones_like(results.target_log_prob, tf.bool)
    results = results.inner_results
    return results.accepted_results.target_log_prob, results.is_accepted


def step_size(results: Any) -> float | None:
    """Returns the current step size of chains of 'hmc' or 'mala'; None for 'langevin', whose step is fixed.

    Args:
      results: the state of the kernel, as `advance` returns it.
    """
    return float(results.new_step_size) if hasattr(results, 'new_step_size') else None


def log_spaced(last: int) -> list[int]:
    """Returns the numbers of transitions after which chains are saved: 0, 1, 3, 10, 30, ..

    Args:
      last: the list ends with the largest of these numbers that is at most `last`.
    """
    steps = (factor * 10**power for power in range(len(str(last))) for factor in (1, 3))
    return [0, *(step for step in steps if step <= last)]


def diagnose(energies: Any, accepted: Any) -> dict[str, float]:
    """Computes convergence diagnostics of chains with N transitions each, m chains on each of n densities.

    The energy of a state is minus its log density.

    Args:
      energies: energies of the states after the burn-in, float32 [N, m, n].
      accepted: whether each proposal was accepted, bool [N, m, n].

    Returns:
      A dict, empty for fewer than 8 transitions:

      - 'acceptance': share of accepted transitions.
      - 'r_hat_median', 'r_hat_max': median and maximum over the n densities of the split R-hat of the energy
        (Brooks and Gelman 1998), which is near 1 for chains that have converged.
      - 'ess_median': median over the chains of the effective sample size of the energy.
      - 'ess_total': sum of these sizes over all chains.
    """
    energies = np.asarray(energies, np.float32)
    if len(energies) < _FEWEST:
        return {}
    reduction = tfp.mcmc.potential_scale_reduction(energies, independent_chain_ndims=1, split_chains=True)
    r_hat = np.sqrt(reduction)
    sizes = tfp.mcmc.effective_sample_size(energies, filter_beyond_positive_pairs=True).numpy()
    return {
        'acceptance': float(np.mean(accepted)),
        'r_hat_median': float(np.median(r_hat)),
        'r_hat_max': float(np.max(r_hat)),
        'ess_median': float(np.median(sizes)),
        'ess_total': float(np.sum(sizes)),
    }
