"""Solves inverse problems with a trained model: inpainting, super-resolution, deblurring and others.

An inverse problem is to find an image x from an observation o = H x + noise, where H is a known linear map.
"""

import dataclasses
from typing import Any

import tensorflow as tf

from drl_tf.core import diffusion, noise
from drl_tf.core.diffusion import Schedule, per_image
from drl_tf.core.guidance import UNCONDITIONAL, Terms
from drl_tf.core.langevin import LogDensity
from drl_tf.core.noise import Seed
from drl_tf.core.posterior import Effort, Observation, Posterior
from drl_tf.core.replacement import Replacement
from drl_tf.core.sampling import Draw
from drl_tf.core.weights import Weights


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to solve an inverse problem, which asks for an image given an observation o: method and effort.

    Attributes:
      method: 'posterior' runs chains on p(x_t | x_{t+1}, o), where x_t is the image with the noise of level
        t; it needs a model with energy='preconditioned'. 'replace' overwrites the observed part of the image
        after each level; it works with all energies.
      effort: an `Effort`: number and size of the chain steps, and how often each level is sampled (its
        attribute `rounds`). 'replace' uses `rounds` only.
      num_levels: number of noise levels that 'posterior' visits; 0: the levels that `EnergyModel.sample`
        visits. A number above 0 needs a model that was trained with levels='continuous'.

    Examples:
      >>> Plan('replace').effort.rounds
      1
    """

    method: str
    effort: Effort = dataclasses.field(default_factory=Effort)
    num_levels: int = 0


def default_plan(config: Any, method: str = '') -> Plan:
    """Returns the default `Plan`, the argument of `solve` that says how to solve an inverse problem.

    Args:
      config: the configuration of the model, a `config.Config`.
      method: 'posterior' or 'replace'. '': 'posterior' for models with energy='preconditioned', 'replace' for
        all others.

    Returns:
      For 'posterior': each level is sampled twice, with 5 chain steps each time. There are 12 levels if the
      model was trained with levels='continuous', else the levels that `EnergyModel.sample` visits. For
      'replace': each level is sampled 5 times.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> default_plan(Config()).method
      'replace'
    """
    preconditioned = config.network.energy == 'preconditioned'
    method = method or ('posterior' if preconditioned else 'replace')
    if method == 'replace':
        return Plan(method, Effort(rounds=5))
    num_levels = 12 if config.training.levels == 'continuous' else 0
    return Plan(method, Effort(num_steps=5, step=0.1, rounds=2), num_levels)


def solve(
    model: Any,
    observation: Observation,
    plan: Plan,
    seed: Seed,
    first: int | tf.Tensor = 0,
    weights: Weights = Weights.EMA,
    terms: Terms = UNCONDITIONAL,
    corrector_steps: tf.Tensor | None = None,
) -> tf.Tensor:
    """Draws an image x for each observation o = H x + noise, where H is a linear operator.

    Args:
      model: an `EnergyModel`.
      observation: the operator H, the observations o of B images, and the standard deviation of the noise.
      plan: the method, its effort (how many steps to take) and the number of noise levels, a `Plan`.
      seed: random seed, int32 [2].
      first: index of the first image; image i depends only on (seed, first + i) and its observation.
      weights: which weights to use: 'ema' (moving averages) or 'raw' (as trained).
      terms: classes and their weights, (labels, weight) pairs such as `guidance.guided` returns. The log
        density of images is the weighted sum of the log densities of the pairs' classes. labels: class + 1 of
        each image, int32 [B], or None for no class.
      corrector_steps: step sizes q of the chains at each level for the method 'replace', float32 [T], from
        `pilot.steps`. None: the step sizes of the noise schedule.

    Returns:
      Images, float32 [B, height, width, C]. With the method 'replace', they still have the noise of level 0,
      unless the model's option `final_denoise` is set.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> from drl_tf.core import operators
      >>> from drl_tf.core.energy_model import EnergyModel
      >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
      >>> observation = Observation(operators.pooled(2), tf.zeros([3, 4, 4, 1]))
      >>> solve(EnergyModel(config), observation, Plan('replace'), [0, 1]).shape
      TensorShape([3, 8, 8, 1])
    """
    x_T = model.prior(tf.shape(observation.value)[0], noise.fold(seed, noise.PRIOR), first)
    if plan.method == 'posterior':
        walk = walk_of(model, plan.num_levels)

        def log_prob_at(index: tf.Tensor) -> LogDensity:
            return model.log_prob_at(per_image(walk.angle, index), weights, terms)

        std = model.network_of(weights).std
        return Posterior(walk, log_prob_at, std, observation, plan.effort, first).draw(x_T, seed)
    sampler = model.sampler(Draw(first, weights, terms, corrector_steps))
    x_0 = Replacement(sampler, observation, plan.effort.rounds).draw(x_T, seed)
    return model.final_denoise(x_0, weights, terms) if model.config.diffusion.final_denoise else x_0


def walk_of(model: Any, num_levels: int) -> Schedule:
    """Returns the noise levels to visit in sampling, a `Schedule` with a chosen number of levels.

    Args:
      model: an `EnergyModel`; the option `schedule` of its configuration chooses the kind of schedule.
      num_levels: number of levels of the result; 0: the levels that `EnergyModel.sample` visits.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> from drl_tf.core.energy_model import EnergyModel
      >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
      >>> walk_of(EnergyModel(config), 12).num_levels
      12
    """
    if not num_levels:
        return model.walk
    return diffusion.chosen(model.config.diffusion, num_levels)
