"""Solves inverse problems with a trained model: inpainting, super-resolution, deblurring and others.

An inverse problem is to find an image x from an observation o = H x + noise, where H is a known linear map.
"""

import dataclasses
from typing import Any

import tensorflow as tf

from drl_tf.core import diffusion, noise
from drl_tf.core.diffusion import Schedule, per_image
from drl_tf.core.langevin import LogDensity
from drl_tf.core.noise import Seed
from drl_tf.core.posterior import Effort, Observation, Posterior
from drl_tf.core.replacement import Replacement
from drl_tf.core.sampling import PLAIN, Draw


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
    draw: Draw = PLAIN,
) -> tf.Tensor:
    """Draws an image x for each observation o = H x + noise, where H is a linear operator.

    Args:
      model: an `EnergyModel`.
      observation: the operator H, the observations o of B images, and the standard deviation of the noise.
      plan: the method, its effort (how many steps to take) and the number of noise levels, a `Plan`.
      seed: random seed, int32 [2].
      draw: which images, and how; image i depends only on (seed, draw.first + i) and its observation. Its
        `corrector_steps` and `walk` are for the method 'replace' alone.

    Returns:
      Images, float32 [B, height, width, C]. With the method 'replace', they still have the noise of level 0,
      unless the model's option `final_denoise` is set.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> from drl_tf.core import operators
      >>> from drl_tf.core.energy_model import EnergyModel
      >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
      >>> model = EnergyModel(config.replace(mcmc_steps=(1,)))
      >>> observation = Observation(operators.pooled(2), tf.zeros([3, 4, 4, 1]))
      >>> solve(model, observation, Plan('replace'), [0, 1]).shape
      TensorShape([3, 8, 8, 1])
    """
    walk = walk_of(model, plan.num_levels) if plan.method == 'posterior' else draw.walk or model.walk
    x_T = model.prior(tf.shape(observation.value)[0], noise.fold(seed, noise.PRIOR), draw.first, walk)
    if plan.method == 'posterior':

        def log_prob_at(index: tf.Tensor) -> LogDensity:
            return model.log_prob_at(per_image(walk.angle, index), draw.weights, draw.terms)

        std = model.network_of(draw.weights).std
        return Posterior(walk, log_prob_at, std, observation, plan.effort, draw.first).draw(x_T, seed)
    x_0 = Replacement(model.sampler(draw), observation, plan.effort.rounds).draw(x_T, seed)
    return model.final_denoise(x_0, draw.weights, draw.terms) if model.config.diffusion.final_denoise else x_0


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
