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
    """Returns a callable that maps noise levels to numbers of chain steps in sampling.

    Args:
      config: the configuration of the model, a `config.Config`.
      walk: the noise levels that sampling visits, a `Schedule`.

    Returns:
      A callable that maps the level of each image, an index into `walk`, int32 [B], to the number of steps,
      int32 [B]. If all levels have 0 steps, sampling runs no chains, and the callable returns 0 or None. The
      int 0 means: draw each image from a normal approximation of its distribution (option proposal='x_next').
      None means: take the point where its chain would start (proposal='tweedie').

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
    """Returns r_t, the factor of the squared step size in sampling compared with training, float64 [T].

    r_t = step_scale^2 K / K' at each level t that sampling visits. K is the number of chain steps in
    training, and K' that in sampling. K / K' is taken as 1 at levels where K' is 0. `step_scale` is an
    option.

    Args:
      config: the configuration of the model, a `config.Config`.
      walk: the noise levels that sampling visits, a `Schedule`.

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
    """Returns the factor of the Langevin step size in sampling compared with training.

    Args:
      config: the configuration of the model, a `config.Config`.
      walk: the noise levels that sampling visits, a `Schedule`.

    Returns:
      The factor at each level that sampling visits, float64 [T]: step_scale sqrt(K / K'), where `step_scale`
      is an option, K the number of chain steps in training, and K' that in sampling. At levels where K' is 0,
      K / K' is taken as 1. If the option `sampling_steps` is empty, K' equals K, and the result is the single
      number `step_scale`.

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
    """Returns beta_t, the weight of the previous step's gradient in `langevin.langevin`, float64 [T].

    beta_t = (1 - 1 / r_t) / 2 at each level t that sampling visits, where r_t is the factor of the squared
    step size compared with training; `ratio` computes it. On a Gaussian of variance 1 / l, plain steps of
    size delta make the stationary variance too large, by the factor 1 + delta^2 l / 4 in first order. Steps
    with beta have the factor 1 + (1 - 2 beta) delta^2 l / 4. With beta = beta_t, the larger steps of sampling
    have the same factor as the steps of training.

    Args:
      config: the configuration of the model, a `config.Config`.
      walk: the noise levels that sampling visits, a `Schedule`.

    Returns:
      beta_t, or None for steps that use only their own gradient (option langevin_rule='plain').

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
