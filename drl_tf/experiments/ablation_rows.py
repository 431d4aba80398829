"""The rows of the ablation tables: the options that each row changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drl_tf.base.errors import UserError
from drl_tf.config.training_options import LOSSES_OF_HEIGHTS

if TYPE_CHECKING:
    from drl_tf.config.config import Config

# The options of flags/recipe_t1k.flags, and the options that undo settings of 't6'.
_T1K: dict[str, Any] = dict(
    recipe='t1k',
    schedule='t1k',
    num_levels=999,
    mcmc_steps=(0,),
    noise_scale=1.0,
    act='swish',
    final_act='swish',
    energy_l2=0.0,
    shared_noise=False,
    energy_scale='auto',
    precision='float32',
)
_T6: dict[str, Any] = dict(recipe='t6', schedule='t6')
T_AND_K: dict[str, dict[str, Any]] = {
    **{f'T6_K{K}': dict(_T6, num_levels=6, mcmc_steps=(K,)) for K in (10, 20, 30, 50)},
    'T1000_K0': dict(_T1K, objective='contrastive'),
    'T1000_K0_DSM': dict(_T1K, objective='dsm'),
    # The bound of the loss for six levels is too tight for one level.
    'T1_K180': dict(_T6, num_levels=1, mcmc_steps=(180,), max_loss=1e3),
}
ONE_CHANGE: dict[str, dict[str, Any]] = {
    'default': {},
    'not_preconditioned': dict(
        _T1K,
        recipe='preconditioned',
        num_levels=99,
        energy='paper',
        objective='dsm',
        levels='walk',
        proposal='x_next',
        prior='white',
        final_denoise=False,
    ),
    'linear_head': dict(final_act='identity'),
    'spectral_norm': dict(spectral_norm=True),
    'unet': dict(network='unet'),
    'levels_walk': dict(levels='walk'),
    'cosine': dict(schedule='cosine'),
    'x_next_K30': dict(proposal='x_next', mcmc_steps=(30,)),
    'time_score': dict(time_score=0.05, max_loss=1e9),  # Its loss begins in the thousands.
    'level_classification': dict(level_classification=0.05),
    'recovery_nce': dict(recovery_nce=0.05),
    'constant_rate': dict(decay_steps=0),
    'no_classes': dict(num_classes=0),
}
TABLES = {'t6': T_AND_K, 'preconditioned': ONE_CHANGE}
# How long a step of a row takes on average, as a multiple of a default step: from digits on 2 CPU cores. The
# last two losses take part in a quarter of the steps, which then take 2.2 and 1.9 times as long.
_STEP_TIMES = {'unet': 9.5, 'level_classification': 1.3, 'recovery_nce': 1.2}


def configs_of(config: Config) -> dict[str, Config]:
    """Returns the configuration of each row of an ablation table, {name of the row: configuration}.

    The recipe 't6' has the table of the paper. Its rows differ in T, the number of noise levels, and K, the
    number of Langevin steps; all train on the same number of images. The recipe 'preconditioned' has a table
    whose rows each change one part of the recipe. Rows with slower steps train for fewer steps, so that all
    rows take about the same time.

    Args:
      config: the configuration that all rows share; its option `recipe` chooses the table.

    Raises:
      UserError: there is no table for the recipe, or a row does not fit the configuration.
    """
    if config.diffusion.recipe not in TABLES:
        raise UserError(
            f'--mode=ablate has a table for --recipe={" and --recipe=".join(TABLES)}, not '
            f'{config.diffusion.recipe}'
        )
    if not config.training.train_steps:
        raise UserError('--mode=ablate needs a number of steps: give --train_steps=N')
    configs = {}
    for name, changes in TABLES[config.diffusion.recipe].items():
        try:
            configs[name] = config.with_flags(**(_common(config, name) | changes))
        except UserError as error:
            raise UserError(f'--mode=ablate, row {name}: {error}') from error
    return configs


def _common(config: Config, name: str) -> dict[str, Any]:
    """Returns the options that the tables set in a row besides the row's own change.

    A row of slow steps takes fewer steps. Its warm-up and its decay are shortened by the same factor.
    """
    share = 1 / _STEP_TIMES.get(name, 1)
    options = config.training
    at_once = options.steps_per_execution
    steps = at_once * max(1, round(share * options.train_steps / at_once))
    common = dict(
        max_minutes=0.0,
        evaluate_every=0,
        train_steps=steps,
        decay_steps=at_once * round(share * options.decay_steps / at_once),
        warmup_steps=round(share * options.warmup_steps),
    )
    if name in LOSSES_OF_HEIGHTS:
        common['heights_after'] = steps * 3 // 4
    return common
