"""Chooses the method of inpainting and restoring, and checks that the model allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drl_tf.base import arguments
from drl_tf.base.errors import UserError

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.inverse import Plan
    from drl_tf.editing.degradations import Degradation

METHODS = ('posterior', 'replace')


def method_of(config: Config, method: str = '') -> str:
    """Returns the method of inpainting and restoring for a model: 'posterior' or 'replace'.

    'posterior' runs chains on the log density of the noisy image given the known pixels; 'replace' overwrites
    the known pixels after each noise level.

    Args:
      config: the configuration of the model.
      method: the value of --method. '': 'posterior' for a model with --energy=preconditioned, 'replace' for
        all others.

    Raises:
      UserError: `method` is 'posterior', and the model was not trained with --energy=preconditioned.
    """
    preconditioned = config.network.energy == 'preconditioned'
    if method == 'posterior' and not preconditioned:
        raise UserError(
            f'--method=posterior needs log densities of noisy images at every level, and --energy='
            f'{config.network.energy} has none: give --method=replace'
        )
    return method or ('posterior' if preconditioned else 'replace')


def check(config: Config, method: str, kind: str, num_levels: int, num_steps: int = -1) -> None:
    """Checks that a method can inpaint or restore images with a model; raises UserError if not.

    'posterior' needs a model that was trained with --energy=preconditioned. 'replace' works with other models
    too, but cannot undo blur or noise. Models of points and models with --norm=batch work with neither.

    Args:
      config: the configuration of the model.
      method: 'posterior', 'replace', or '' for the model's default.
      kind: the degradation: 'super2', 'super4', 'grey', 'blur' or 'noise'; '': inpainting.
      num_levels: number of noise levels to visit; 0: the levels that sampling visits. A number above 0 needs
        'posterior' and a model that was trained with --levels=continuous.
      num_steps: number of chain steps at each level, which 'replace' does not have; -1: the default.
    """
    if config.planar:
        raise UserError(f'--dataset={config.data.dataset} has points, and images are edited')
    if config.network.norm == 'batch':
        raise UserError('--norm=batch gives no density of an image; train with another --norm')
    method = method_of(config, method)
    if method == 'replace' and kind in ('blur', 'noise'):
        raise UserError(
            f'--degradation={kind} cannot be undone by --method=replace, which needs exact pixels: use a '
            'model of --energy=preconditioned with --method=posterior'
        )
    if num_levels and (method == 'replace' or config.training.levels != 'continuous'):
        raise UserError(
            f'--edit_levels={num_levels} needs --method=posterior and energies between the noise levels '
            '(--levels=continuous): drop it'
        )
    if num_steps >= 0 and method == 'replace':
        raise UserError(f'--edit_steps={num_steps} needs --method=posterior: drop it')


def checked(config: Config, plan: Plan | None, degradation: Degradation | None) -> Plan:
    """Checks a plan to inpaint or restore images with a model, and returns this plan or the default plan.

    Args:
      config: the configuration of the model.
      plan: the method and the number of steps; None: the default plan of the model.
      degradation: the degradation to undo; None: inpainting.

    Raises:
      UserError: a value of the plan is out of range, or the plan does not work with the model or with the
        degradation.
    """
    from drl_tf.core.inverse import default_plan

    plan = plan or default_plan(config)
    _check_values(plan)
    check(config, plan.method, degradation.kind if degradation else '', plan.num_levels)
    return plan


def _check_values(plan: Plan) -> None:
    """Raises UserError if the method of a plan is unknown, or if a number is out of range."""
    if plan.method not in METHODS:
        raise UserError(f'--method={plan.method} must be {" or ".join(METHODS)}')
    effort = plan.effort
    arguments.number('plan.num_levels', plan.num_levels, 0)
    arguments.number('plan.effort.num_steps', effort.num_steps, 0)
    arguments.number('plan.effort.rounds', effort.rounds, 1)
    if not arguments.number('plan.effort.step', effort.step, 0, whole=False):
        raise UserError(f'plan.effort.step={effort.step} must be above 0')


def level_of(strength: float, num_levels: int) -> int:
    """Converts --strength to the noise level of the noisy image with which editing begins.

    To edit an image, --mode=edit adds the noise of this level to it, and then samples down to level 0.

    Args:
      strength: share of the noise levels, above 0 and at most 1.
      num_levels: number T of noise levels.

    Returns:
      The level nearest to strength * T, from 1 to T.

    Raises:
      UserError: `strength` is out of range.

    Examples:
      >>> level_of(0.5, num_levels=6)
      3
    """
    if not 0 < strength <= 1:
        raise UserError(f'--strength={strength} must be above 0 and at most 1')
    return max(1, round(strength * num_levels))
