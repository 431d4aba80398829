"""Runs long chains of a trained model, as in section 4 of the paper (--mode=long_run).

At some levels, chains run on p(y_t | x_{t+1}) for many more steps than in training. Half of the chains,
'x_next', start at x_{t+1}, as in sampling. The others, 'data', start at y_t of the image from which x_{t+1}
was made. If the energies are right, both end at equally good images.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import logging

from drl_tf.base import files
from drl_tf.core.weights import Weights
from drl_tf.experiments import chains, long_run_report
from drl_tf.experiments.long_run_chains import Level, Sampler
from drl_tf.runs import checkpoint, pictures, samples
from drl_tf.runs.request import SampleRequest

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.energy_model import EnergyModel

KINDS = ('x_next', 'data')
_SECONDS_PER_CHUNK = 10  # Between two writes to disk.
# Settings of sampling, which long-run chains do not use.
_OF_SAMPLING = (
    'mcmc_steps',
    'noise_scale',
    'prior',
    'step_scale',
    'sampling_steps',
    'langevin_rule',
    'sampling_levels',
    'final_denoise',
    'labels',
    'label_weights',
    'first',
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which long Markov chains to run, and for how long.

    The chains at noise level t sample the conditional density of y_t, the scaled image with the noise of
    level t, given x_{t+1}, the image one level above.

    Attributes:
      levels: the noise levels t at which chains run. If it is empty, chains run at the levels 0, T // 3 and
        2 T // 3, where T is the number of levels.
      method: 'hmc', 'mala' (HMC with a single leapfrog step) or 'langevin' (no rejection).
      num_images: number of real images. At each level, an image gives one x_{t+1} and two chains: one starts
        at x_{t+1}, the other at the image with the noise of level t.
      leapfrogs: leapfrog steps of a transition of 'hmc'.
      burn_in: number of transitions at the beginning, in which the step size of 'hmc' and 'mala' adapts. The
        diagnostics leave them out.
      steps: number of transitions per chain, including the burn-in.
      minutes: time limit of the command in minutes; 0: no limit.
    """

    levels: tuple[int, ...]
    method: str
    num_images: int
    leapfrogs: int
    burn_in: int
    steps: int
    minutes: float

    def at(self, num_levels: int) -> Plan:
        """Returns a copy of the plan, with the `levels` to run for a model of T = `num_levels` levels.

        They are the levels of this plan, sorted and without duplicates; if it has none, 0, T // 3 and
        2 T // 3.
        """
        levels = self.levels or (0, num_levels // 3, 2 * num_levels // 3)
        return dataclasses.replace(self, levels=tuple(sorted(set(levels))))


def long_run(
    config: Config, workdir: str, plan: Plan, weights: Weights = Weights.EMA, step: int | None = None
) -> dict[str, str]:
    """Runs or continues long Markov chains, and writes a report on their convergence.

    Args:
      config: the configuration; the networks compute in float32, whatever its option `precision` says.
      workdir: the run's directory.
      plan: which chains to run, and for how long.
      weights: 'ema' (averages) or 'raw'.
      step: training step of the checkpoint; None: the newest.

    Returns:
      Lines to print, {label: text}: the result for each level, and the paths of the files.

    Raises:
      UserError: there is no undamaged checkpoint.
    """
    config = config.replace(precision='float32')
    plan = plan.at(config.diffusion.num_levels)
    model, step = checkpoint.load_model(workdir, config, step)
    root = os.path.join(workdir, 'long_run', f'{step:08d}-{weights}-{plan.method}-seed{config.training.seed}')
    with files.held(root):
        sampler = Sampler(model, plan, weights)
        images = files.array_digest(sampler.images)
        _put_others_aside(root, {**_settings(model, plan, step, weights), 'images_sha256': images})
        levels = {
            t: Level(sampler, t, os.path.join(root, f'level{t:03d}')) for t in (*plan.levels, *_begun(root))
        }
        _run([levels[t] for t in plan.levels], plan)
        return long_run_report.write(config, root, plan, [levels[t] for t in sorted(levels)], KINDS)


def _begun(root: str) -> list[int]:
    """Returns the levels at which earlier commands ran chains."""
    return [int(name.removeprefix('level')) for name in os.listdir(root) if re.fullmatch(r'level\d+', name)]


def _settings(model: EnergyModel, plan: Plan, step: int, weights: Weights) -> dict[str, Any]:
    """Returns all settings that decide the states, {name: JSON value}."""
    config = model.config
    mine = {name: getattr(plan, name) for name in ('method', 'num_images', 'leapfrogs', 'burn_in')}
    request = SampleRequest.of(config, plan.num_images, step=step, weights=weights)
    settings = samples.settings_of(model, request)
    decisive = {name: value for name, value in settings.items() if name not in _OF_SAMPLING}
    return {**decisive, **mine, 'dataset': config.data.dataset}


def _put_others_aside(root: str, settings: Mapping[str, Any]) -> None:
    """Moves chains with other settings from `root` to a directory beside it, and records `settings`."""
    path = os.path.join(root, 'settings.json')
    former = None
    with contextlib.suppress(OSError, ValueError):
        former = files.read_json(path)
    if former == settings:
        return
    kept = files.put_aside(root)
    if kept:
        logging.warning('%s held chains with other settings: they are now in %s', root, kept)
    files.write_json(path, settings)


def _run(levels: Sequence[Level], plan: Plan) -> None:
    """Prints the cost, then advances all levels in turn until they are done or the time is up."""
    missing = sum(max(0, plan.steps - level.done) for level in levels if not level.diverged)
    if not missing:
        return
    pilot = next(level for level in levels if level.done < plan.steps and not level.diverged)
    seconds = pilot.seconds_per_transition()
    _say_cost(plan, missing, seconds)
    most = max(1, math.ceil(_SECONDS_PER_CHUNK / seconds))
    total = len(levels) * plan.steps
    begin = time.monotonic()
    with pictures.progress_bar(total, 'long run', total - missing, unit=' transitions') as bar:
        while missing and not (plan.minutes and time.monotonic() - begin > 60 * plan.minutes):
            waiting = [level for level in levels if level.done < plan.steps and not level.diverged]
            if not waiting:
                break
            level = min(waiting, key=lambda level: level.done)
            bar.update(level.advance(most, plan.steps))


def _say_cost(plan: Plan, missing: int, seconds: float) -> None:
    """Prints the number of missing transitions, their cost, and their time."""
    gradients = missing * chains.gradients(plan.method, plan.leapfrogs)
    levels = ', '.join(map(str, plan.levels))
    num_chains = 2 * plan.num_images
    print(
        f'long run: {plan.method} at levels {levels}, {plan.num_images} images, {num_chains} chains a level, '
        f'{plan.steps:,} transitions each\n'
        f'cost: {missing:,} transitions over all levels, {gradients:,} gradients of {num_chains} images; '
        f'at {seconds:.3g} s a transition, as measured, {missing * seconds / 60:,.1f} minutes',
        flush=True,
    )
    if plan.minutes and missing * seconds > 60 * plan.minutes:
        possible = int(60 * plan.minutes / seconds / len(plan.levels))
        print(
            f'--chain_minutes={plan.minutes:g} allows about {possible:,} more at each level; then the same '
            'command continues',
            flush=True,
        )
