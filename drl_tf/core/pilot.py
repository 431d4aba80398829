"""Finds step sizes for the chains of MALA and HMC in a pilot run, before any image is drawn.

The pilot run draws 32 images from a fixed seed, so the step sizes depend on the model and its options only.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.core import noise
from drl_tf.core.correctors import ADJUSTED, TARGET_ACCEPTANCE
from drl_tf.core.diffusion import Schedule
from drl_tf.core.guidance import UNCONDITIONAL, Terms, guided, network_labels
from drl_tf.core.sampling import Draw
from drl_tf.core.weights import Weights

_IMAGES = 32
# Values of q that `largest` tries: 1, 2^-1/4, 2^-1/2, .. 2^-10; delta_t^2 = 2 q / L_t.
GRID = 2.0 ** (-np.arange(41) / 4)


def largest(acceptance_of: Callable[[float], float], target: float) -> float:
    """Finds the largest step size q at which chains accept often enough, by bisection.

    q is taken from `GRID`, the powers 2^(-i/4) from 1 down to 1/1024, so that rounding errors rarely change
    the result.

    Args:
      acceptance_of: callable that maps q to the acceptance probability, which falls as q grows.
      target: smallest acceptance probability that is enough, between 0 and 1.

    Returns:
      q; the smallest q of the grid if no q reaches the target.

    Examples:
      >>> largest(lambda q: 1 - q, target=0.5)
      0.5
    """
    low, high = 0, len(GRID) - 1
    while low < high:
        middle = (low + high) // 2
        if acceptance_of(float(GRID[middle])) >= target:
            high = middle
        else:
            low = middle + 1
    return float(GRID[low])


def steps(model: Any, weights: Weights = Weights.EMA, walk: Schedule | None = None) -> tf.Tensor | None:
    """Returns q_t, the relative step size of a model's chains at each noise level t.

    The function `correctors.step_sizes` turns q_t into the step size of a chain. If the option
    `corrector_step` is above 0, all q_t have this value. Otherwise, for the correctors 'mala' and 'hmc', a
    pilot run samples 32 images. At each level with chains, it takes the largest q_t whose mean acceptance
    probability reaches the corrector's target in the dict `correctors.TARGET_ACCEPTANCE`. At other levels,
    q_t is 1. The pilot run costs about as much as sampling 200 images.

    Args:
      model: an `EnergyModel`.
      weights: which weights to use: 'ema' (moving averages) or 'raw' (as trained).
      walk: the noise levels that sampling visits, a `Schedule`; None: `model.walk`.

    Returns:
      q_t, float32 [T]. None if the model has no chains, or has Langevin chains with the step sizes of the
      schedule.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> from drl_tf.core.energy_model import EnergyModel
      >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
      >>> steps(EnergyModel(config.replace(corrector='mala', corrector_step=0.1, num_levels=2))).numpy()
      array([0.1, 0.1], dtype=float32)
    """
    options = model.config.sampling
    walk = walk or model.walk
    corrector = model.config.corrector
    if options.corrector_step and corrector != 'none':
        return tf.fill([walk.num_levels], options.corrector_step)
    if corrector not in ADJUSTED:
        return None
    return tf.constant(_adapted(model, weights, walk, TARGET_ACCEPTANCE[corrector]), tf.float32)


def as_list(q: tf.Tensor | None) -> list[float] | None:
    """Converts the step sizes that `steps` returns to a list of floats, for JSON; None stays None.

    Examples:
      >>> as_list(tf.constant([0.5, 0.25]))
      [0.5, 0.25]
    """
    return None if q is None else q.numpy().tolist()


def as_tensor(q: Sequence[float] | None) -> tf.Tensor | None:
    """Converts a list of step sizes from `as_list` back to a tensor, float32 [T]; None stays None.

    Examples:
      >>> as_list(as_tensor([0.5, 0.25]))
      [0.5, 0.25]
    """
    return None if q is None else tf.constant(q, tf.float32)


def _adapted(model: Any, weights: Weights, walk: Schedule, target: float) -> list[float]:
    """Runs the pilot run; returns q_t of each level of the walk, [T]."""
    seed = noise.root(0, noise.PILOT)
    terms = _classes_in_turn(model.config)

    @tf.function(autograph=False)
    def recover(x_next: tf.Tensor, t: tf.Tensor, q: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        sampler = model.sampler(Draw(0, weights, terms, tf.fill([walk.num_levels], q), walk))
        x, info = sampler.recover(x_next, tf.fill([_IMAGES], t), noise.fold(seed, noise.LANGEVIN, t))
        return x, tf.reduce_mean(info.acceptance)

    x = model.prior(_IMAGES, noise.fold(seed, noise.PRIOR), 0, walk)
    found = [1.0] * walk.num_levels
    for t in reversed(range(walk.num_levels)):
        at_level = tf.constant(t)

        def acceptance_of(q: float, x_next: tf.Tensor = x, level: tf.Tensor = at_level) -> float:
            return float(recover(x_next, level, tf.constant(q))[1])

        if model.config.steps_by_level[walk.levels[t]]:
            found[t] = largest(acceptance_of, target)
        x, _ = recover(x, at_level, tf.constant(found[t]))
    return found


def _classes_in_turn(config: Any) -> Terms:
    """Returns the guidance terms of the pilot run: all classes in turn, and the option `guidance`."""
    num_classes = config.data.num_classes
    if not num_classes:
        return UNCONDITIONAL
    return guided(network_labels(tf.range(_IMAGES) % num_classes), config.sampling.guidance)
