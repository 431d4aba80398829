"""Langevin chains with fewer and larger steps than those with which the energies were trained.

Training ran K steps delta_t at level t. Sampling runs K' steps delta'_t, with delta'_t^2 = r_t delta_t^2.
With r_t = K / K', the chains take the same total time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.core import conditionals
from drl_tf.core.diffusion import Schedule


def steps_at(config: Any, walk: Schedule) -> Callable[[tf.Tensor], int | tf.Tensor | None]:
    """Returns a callable, level of the walk, int32 [B] -> K' of each image; see `conditionals.steps_at`.

    Args:
      config: a `config.Config`.
      walk: the levels that sampling visits.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> from drl_tf.core import diffusion
      >>> config = Config().replace(num_levels=2, mcmc_steps=(30,), sampling_steps=(5, 3))
      >>> steps_at(config, diffusion.t6(2))(tf.constant([1, 0])).numpy()
      array([3, 5], dtype=int32)
    """
    steps = config.sampling_steps_by_level
    return lambda level: conditionals.steps_at(config, tf.gather(walk.levels, level), steps)


def ratio(config: Any, walk: Schedule) -> np.ndarray:
    """Returns r_t = step_scale^2 K / K' of each level of a walk, float64 [T]; 1 for levels without chains.

    Args:
      config: a `config.Config`.
      walk: the levels that sampling visits.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> from drl_tf.core import diffusion
      >>> ratio(Config().replace(mcmc_steps=(30,), sampling_steps=(5,)), diffusion.t6()).tolist()
      [6.0, 6.0, 6.0, 6.0, 6.0, 6.0]
    """
    trained = np.array(config.steps_by_level, np.float64)[walk.levels]
    mine = np.array(config.sampling_steps_by_level, np.float64)[walk.levels]
    times = np.divide(trained, mine, out=np.ones_like(mine), where=mine > 0)
    return config.sampling.step_scale**2 * times


def scale(config: Any, walk: Schedule) -> float | np.ndarray:
    """Returns the factor of delta_t in sampling: sqrt(r_t), float64 [T], or one number if K' is K.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> from drl_tf.core import diffusion
      >>> config = Config().replace(num_levels=2, mcmc_steps=(16,), sampling_steps=(4, 1))
      >>> scale(config, diffusion.t6(2)).tolist()
      [2.0, 4.0]
    """
    if not config.sampling.sampling_steps:
        return config.sampling.step_scale
    return np.sqrt(ratio(config, walk))


def beta(config: Any, walk: Schedule) -> np.ndarray | None:
    """Returns beta_t = (1 - 1 / r_t) / 2, the weight of the last gradient in `langevin`, float64 [T].

    On a Gaussian of precision l, plain steps delta inflate the stationary variance by 1 + delta^2 l / 4 in
    first order, and steps with beta by 1 + (1 - 2 beta) delta^2 l / 4. With this beta, the r_t times larger
    steps have the inflation with which the energies were trained.

    Returns:
      None for plain steps, the option langevin_rule='plain'.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> from drl_tf.core import diffusion
      >>> config = Config().replace(num_levels=2, mcmc_steps=(20,), sampling_steps=(20, 5))
      >>> config = config.replace(langevin_rule='ab2')
      >>> beta(config, diffusion.t6(2)).tolist()
      [0.0, 0.375]
    """
    if config.sampling.langevin_rule == 'plain':
        return None
    return (1 - 1 / ratio(config, walk)) / 2
