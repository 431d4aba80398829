"""Finds out which chains a configuration runs, and checks options of noise levels and chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from drl_tf.base.errors import UserError
from drl_tf.config.option_fields import text

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.config.model_options import Diffusion, Network
    from drl_tf.config.training_options import Training

ADJUSTED = ('mala', 'hmc')
OF_NEGATIVES = ('contrastive_corrector', 'contrastive_step')  # Options of the chains of training.
# Options of a model with energies at all noise levels that decide which of them sampling visits.
FREE_LEVELS = ('num_levels', 'sigma_min', 'sigma_max')


def corrector_of(config: Config) -> str:
    """Returns the kind of chains that correct the samples at each noise level.

    Returns:
      'none' (no chains), 'langevin', 'mala' (Langevin steps with acceptance) or 'hmc' (Hamiltonian Monte
      Carlo). The option `corrector` decides. Its value 'auto' gives 'none' if `mcmc_steps` is 0; else 'mala'
      if `energy` is 'preconditioned' or 'exact', and `proposal` is 'tweedie'; else 'langevin'.
    """
    options = config.diffusion
    if config.sampling.corrector != 'auto':
        return config.sampling.corrector
    if not any(options.mcmc_steps):
        return 'none'
    right = config.network.energy != 'paper' and options.proposal == 'tweedie'
    return 'mala' if right else 'langevin'


def negatives_of(config: Config) -> str:
    """Returns the kind of chains that draw negatives (samples of the model) in training.

    Returns:
      'mala', 'hmc' or 'langevin' if energy='preconditioned', and training draws negatives
      (objective='contrastive' or contrastive > 0). The option `contrastive_corrector` decides; but if
      `mcmc_steps` is 0, the result is always 'langevin', as the chains have no steps.
      'none' for all other configurations. With energy='paper', training has one kind of chains only, and
      `contrastive_corrector` has no effect.
    """
    options = config.training
    contrasts = options.contrastive or options.objective == 'contrastive'
    if config.network.energy != 'preconditioned' or not contrasts:
        return 'none'
    return options.contrastive_corrector if any(config.diffusion.mcmc_steps) else 'langevin'


def has_units(config: Config) -> bool:
    """Returns whether step sizes in sampling are set relative to the curvature of the log density.

    True for the correctors 'mala' and 'hmc', and for 'langevin' if the option `corrector_step` is set.
    Otherwise, the noise schedule sets the step sizes, as in the paper.
    """
    return corrector_of(config) in ADJUSTED or config.sampling.corrector_step > 0


def check(config: Config) -> None:
    """Checks the options of noise levels and chains; raises UserError if two contradict each other."""
    steps = config.diffusion.mcmc_steps
    if len(steps) not in (1, config.diffusion.num_levels):
        raise UserError(
            f'--mcmc_steps={text(steps)} must be one number, or one for each of '
            f'--num_levels={config.diffusion.num_levels}'
        )
    _check_levels(config)
    _check_corrector(config)
    _check_larger_steps(config)
    _check_negatives(config.training, negatives_of(config))


def has_any_level(config: Config) -> bool:
    """Returns whether the model can sample at noise levels between those of its schedule.

    Models with --energy=exact can, and so can those trained with --energy=preconditioned and
    --levels=continuous.
    """
    return config.network.energy == 'exact' or has_learnt_levels(config)


def has_learnt_levels(config: Config) -> bool:
    """Returns whether a model learnt log densities at all noise levels."""
    return config.network.energy == 'preconditioned' and config.training.levels == 'continuous'


def levels_of(config: Config) -> dict[str, Any]:
    """Returns the options that decide the noise levels that sampling visits, {option: value}.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> levels_of(Config()), levels_of(Config().replace(schedule='karras'))
      ({'num_levels': 6}, {'num_levels': 6, 'sigma_min': 0.0074, 'sigma_max': 12.8})
    """
    names = FREE_LEVELS if config.diffusion.schedule == 'karras' else FREE_LEVELS[:1]
    return {name: getattr(config.diffusion, name) for name in names}


def check_range(config: Config, trained: Config) -> None:
    """Checks that --sigma_min and --sigma_max lie within the noise of training.

    Does nothing for exact energies, which are not trained, and for schedules with fixed ends.

    Args:
      config: the configuration to sample with, or to go on with.
      trained: the configuration that the model was trained with.

    Raises:
      UserError: the model does not know the energies at one of the ends.
    """
    mine, known = config.diffusion, trained.diffusion
    within = known.sigma_min <= mine.sigma_min and mine.sigma_max <= known.sigma_max
    if not within and config.network.energy != 'exact' and mine.schedule == known.schedule:
        raise UserError(
            f'--sigma_min={mine.sigma_min:g} and --sigma_max={mine.sigma_max:g} must lie within the noise of '
            f'training, from {known.sigma_min:g} to {known.sigma_max:g}'
        )


def check_sweep(config: Config, correctors: Sequence[str]) -> None:
    """Checks that --mode=sweep_chains can run; raises UserError if not.

    The mode compares numbers of noise levels and kinds of chains, so the model must be able to sample at any
    noise level.

    Args:
      config: the configuration of the model.
      correctors: the kinds of chains to compare; each must be 'langevin', 'mala' or 'hmc'.
    """
    if not has_any_level(config):
        raise UserError(
            '--mode=sweep_chains needs energies at any noise level, not '
            f'--energy={config.network.energy} with --levels={config.training.levels}: take a run of '
            '--recipe=preconditioned'
        )
    for corrector in correctors:
        if corrector not in ('langevin', *ADJUSTED):
            raise UserError(f'--sweep_correctors={corrector} must be one of langevin, mala, hmc')


def _check_corrector(config: Config) -> None:
    """Raises UserError if another option contradicts --corrector or --corrector_step."""
    options = config.sampling
    corrector = corrector_of(config)
    steps = f'--mcmc_steps={text(config.diffusion.mcmc_steps)}'
    if corrector == 'none' and any(config.diffusion.mcmc_steps):
        raise UserError(f'--corrector=none runs no chains: give --mcmc_steps=0 too, not {steps}')
    if corrector != 'none' and not any(config.diffusion.mcmc_steps):
        raise UserError(
            f'--corrector={corrector} needs steps: give --mcmc_steps, or --corrector=none with {steps}'
        )
    if corrector == 'none' and options.corrector_step:
        raise UserError(
            f'--corrector_step={options.corrector_step:g} is the step of chains, and {steps} runs none: drop '
            'one of the two'
        )
    if has_units(config) and options.step_scale != 1:
        raise UserError(
            f'--step_scale={options.step_scale:g} is for Langevin steps of the size delta_t: give '
            '--corrector_step instead'
        )
    if corrector not in ADJUSTED:
        return
    if not options.noise_scale:
        raise UserError(
            f'--noise_scale=0 takes away the noise that --corrector={corrector} needs: give a larger one, or '
            '--corrector=langevin'
        )
    if config.network.norm == 'batch':
        raise UserError(
            f'--corrector={corrector} compares the densities of single images, and --norm=batch has none: '
            'give --corrector=langevin'
        )


def _check_larger_steps(config: Config) -> None:
    """Raises UserError if --sampling_steps or --langevin_rule contradicts the chains, or has no effect."""
    options = config.sampling
    steps = options.sampling_steps
    trained = config.steps_by_level
    given = f'--sampling_steps={text(steps)}' if steps else f'--langevin_rule={options.langevin_rule}'
    if not steps and options.langevin_rule == 'plain':
        return
    if corrector_of(config) != 'langevin' or has_units(config) or not all(trained):
        raise UserError(
            f'{given} is for Langevin steps of the size delta_t at all levels, as in the training of '
            '--recipe=t6 and cdrl: drop it, and give --mcmc_steps for other chains'
        )
    if len(steps) not in (0, 1, len(trained)):
        raise UserError(f'{given} must be one number, or one for each of --num_levels={len(trained)}')
    mine = config.sampling_steps_by_level
    times = [options.step_scale**2 * K / few for K, few in zip(trained, mine, strict=True)]
    if options.langevin_rule == 'ab2' and (min(times) < 1 or max(times) == 1 or max(mine) == 1):
        raise UserError(
            '--langevin_rule=ab2 is for steps larger than those of training, and for two or more: give '
            f'--sampling_steps from 2 up, below --mcmc_steps={text(config.diffusion.mcmc_steps)}'
        )


def _check_negatives(options: Training, corrector: str) -> None:
    """Raises UserError if options of the chains in training contradict each other, or have no effect."""
    if corrector == 'none':
        for name, value in changed(options, *OF_NEGATIVES):
            raise UserError(
                f'--{name}={value} is for recovery likelihood of --energy=preconditioned: give '
                '--contrastive too, or drop it'
            )
    if corrector in ADJUSTED and not options.contrastive_step:
        raise UserError(
            '--contrastive_step=0 is delta_t of --b2, for --contrastive_corrector=langevin, not '
            f'{corrector}: give a step'
        )


def changed(options: Diffusion | Network | Training, *names: str) -> list[tuple[str, Any]]:
    """Returns the pairs (name, value) of those options that do not have their default values.

    Args:
      options: a group of options.
      names: the options of this group to look at.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> changed(Config().replace(channels=64).network, 'channels', 'norm')
      [('channels', 64)]
    """
    values = [(name, getattr(options, name)) for name in names]
    return [(name, value) for name, value in values if value != getattr(type(options)(), name)]


def _check_levels(config: Config) -> None:
    """Raises UserError if schedule, K, prior, proposal and the levels to visit contradict each other."""
    options = config.diffusion
    visited = config.sampling.sampling_levels
    if options.schedule != 'karras':
        for name, value in changed(options, 'sigma_min', 'sigma_max'):
            raise UserError(f'--{name}={value:g} is for --schedule=karras, not {options.schedule}: drop it')
    if options.sigma_min >= options.sigma_max:
        raise UserError(f'--sigma_min={options.sigma_min:g} must be below --sigma_max={options.sigma_max:g}')
    if options.schedule == 't6' and options.num_levels > 500:
        raise UserError(f'--num_levels={options.num_levels} must be at most 500 for --schedule=t6')
    if visited > options.num_levels:
        raise UserError(f'--sampling_levels={visited} must be at most --num_levels={options.num_levels}')
    if visited not in (0, options.num_levels) and options.initializer:
        raise UserError(
            f'--sampling_levels={visited} skips levels, but --initializer proposes only from one level to '
            'the next: drop one of the two'
        )
    if config.sampling.prior == 'data' and config.network.energy == 'paper':
        raise UserError(
            '--prior=data needs the mean and deviation of the data, which --energy=paper does not have: give '
            '--prior=white'
        )
    if options.proposal == 'tweedie':
        if options.initializer:
            raise UserError('--proposal=tweedie replaces --initializer: drop one of the two')
        return
    if not all(options.mcmc_steps):
        _check_without_chains(config)


def _check_without_chains(config: Config) -> None:
    """Raises UserError if another option contradicts K = 0, the normal approximation."""
    options = config.diffusion
    if any(options.mcmc_steps):
        raise UserError(f'--mcmc_steps={text(options.mcmc_steps)} must be 0 at all levels, or at none')
    if options.schedule != 't1k':
        raise UserError(
            f'--mcmc_steps=0 needs --schedule=t1k: the top level of {options.schedule} is not conditional'
        )
    if options.initializer:
        raise UserError('--mcmc_steps=0 has no chains for --initializer to start: drop one of the two')
    if config.sampling.step_scale != 1:
        raise UserError(
            f'--step_scale={config.sampling.step_scale} scales Langevin steps; --mcmc_steps=0 has none: '
            'drop one of the two'
        )
