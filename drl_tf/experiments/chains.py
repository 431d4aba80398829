"""Long Markov chains on any log density, and what tells whether they have come to rest.

The transitions are TensorFlow Probability's. Those of `hmc` (Neal, Handbook of MCMC 2011, chapter 5) and
`mala` are accepted or rejected, so that the density is left as it is at any step size; those of `langevin`
are the uncorrected ones that the energies were trained with.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from drl_tf.core import noise

TARGET_ACCEPTANCE = 0.75
_FEWEST = 8  # Transitions of which anything is said.
_SHORTEST = 0.2
_MOVE, _JITTER = range(2)


class Jittered(tfp.mcmc.HamiltonianMonteCarlo):
    """HMC in which each chain takes steps of its own length in each transition, from a fifth of `step_size`
    up.

    Steps of one length can bring all chains of a round density to the other side of it or back, accepted
    every time at the energy that they had (Neal 2011, section 5.3.2, on ergodicity). The lengths do not
    depend on the states: the density is left as it is.
    """

    def one_step(self, current_state, previous_kernel_results, seed=None):
        """As of any `tfp.mcmc.TransitionKernel`; the results keep the step size that was given."""
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


def kernel(log_prob, method, step_size, num_leapfrogs, burn_in):
    """A transition kernel of TensorFlow Probability.

    Args:
      log_prob: callable, y float32 [n, ...] -> log density up to a constant, float32 [n].
      method: 'hmc', 'mala' or 'langevin'. A transition of 'mala' is one of 'hmc' with a single leapfrog step
        (Neal 2011, section 5.2).
      step_size: of the leapfrog integrator, where its adaptation begins, the longest in 'hmc'; delta of
        'langevin', which keeps it.
      num_leapfrogs: steps of the integrator in a transition of 'hmc', each of which costs one gradient.
      burn_in: transitions during which the step size is moved, by dual averaging over all chains, to an
        acceptance of 0.75; then it is fixed.

    Returns:
      A `tfp.mcmc.TransitionKernel`.
    """
    if method == 'langevin':
        return tfp.mcmc.UncalibratedLangevin(log_prob, tf.convert_to_tensor(step_size) ** 2)
    hmc = (Jittered if method == 'hmc' else tfp.mcmc.HamiltonianMonteCarlo)(
        log_prob, step_size, gradients(method, num_leapfrogs)
    )
    return tfp.mcmc.DualAveragingStepSizeAdaptation(hmc, burn_in, target_accept_prob=TARGET_ACCEPTANCE)


def gradients(method, num_leapfrogs):
    """Gradients that a transition costs."""
    return num_leapfrogs if method == 'hmc' else 1


def advance(kernel, y, results, seed, first, count):
    """Runs chains. The noise of transition k depends on (seed, k) alone: chains that are cut and taken up
    again end as others do.

    Args:
      kernel: as from `kernel`.
      y: where the chains are, float32 [n, ...].
      results: what the kernel remembers; at first its `bootstrap_results(y)`.
      seed: int32 [2].
      first: transitions that were made so far, int32.
      count: how many to make, int32.

    Returns:
      `y` and `results` after them; after each transition minus the log density of each chain, float32 [count,
      n], and whether its proposal was accepted, bool [count, n].
    """
    energies, accepted = (
        tf.TensorArray(dtype, count, element_shape=y.shape[:1]) for dtype in (tf.float32, tf.bool)
    )

    def transition(k, y, results, energies, accepted):
        y, results = kernel.one_step(y, results, seed=noise.fold(seed, first + k))
        log_density, moved = _seen(results)
        return k + 1, y, results, energies.write(k, -log_density), accepted.write(k, moved)

    state = (tf.constant(0), y, results, energies, accepted)
    _, y, results, energies, accepted = tf.while_loop(
        lambda k, *_: k < count, transition, state, parallel_iterations=1
    )
    return y, results, energies.stack(), accepted.stack()


def _seen(results):
    """The log density of each chain and whether its proposal was accepted, of a kernel's results."""
    if not hasattr(results, 'inner_results'):
        return results.target_log_prob, tf.ones_like(results.target_log_prob, tf.bool)
    results = results.inner_results
    return results.accepted_results.target_log_prob, results.is_accepted


def step_size(results):
    """The step size that a kernel's results hold, a float; None of 'langevin'."""
    return float(results.new_step_size) if hasattr(results, 'new_step_size') else None


def log_spaced(last):
    """0, 1, 3, 10, 30, .. up to `last`, a list of ints."""
    steps = (factor * 10**power for power in range(len(str(last))) for factor in (1, 3))
    return [0, *(step for step in steps if step <= last)]


def diagnose(energies, accepted):
    """What chains of one length say of themselves.

    Args:
      energies: minus their log densities after the burn-in, float32 [N, m, n]: m chains on each of n
        densities.
      accepted: bool of the same shape.

    Returns:
      dict of floats: 'acceptance'; 'r_hat_median' and 'r_hat_max' over the densities, of the energy along the
        halves of their chains
      (split R-hat: the square root of the potential scale reduction of Brooks and Gelman 1998; 1 where all
      agree); 'ess_median', the effective sample size of the energy of a chain, and 'ess_total' of all. Chains
      of fewer than 8 transitions give an empty dict.
    """
    energies = np.asarray(energies, np.float32)
    if len(energies) < _FEWEST:
        return {}
    r_hat = np.sqrt(
        tfp.mcmc.potential_scale_reduction(energies, independent_chain_ndims=1, split_chains=True)
    )
    sizes = tfp.mcmc.effective_sample_size(energies, filter_beyond_positive_pairs=True).numpy()
    return {
        'acceptance': float(np.mean(accepted)),
        'r_hat_median': float(np.median(r_hat)),
        'r_hat_max': float(np.max(r_hat)),
        'ess_median': float(np.median(sizes)),
        'ess_total': float(np.sum(sizes)),
    }
