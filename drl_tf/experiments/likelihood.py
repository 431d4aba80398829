"""Computes bounds of the bits per dimension of test images by annealing (--mode=likelihood)."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from drl_tf.base.files import digest, held, write_json
from drl_tf.config import chains
from drl_tf.core import noise, pilot
from drl_tf.core.sampling import Draw
from drl_tf.core.weights import Weights
from drl_tf.experiments import bridges, held_out, partition, walk_bridges
from drl_tf.experiments.bits_per_dim import FEW_EFFECTIVE, bits_per_dim
from drl_tf.experiments.side_by_side import side_by_side
from drl_tf.runs import checkpoint, pictures, samples

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.energy_model import EnergyModel

LogDensity = Callable[[tf.Tensor], tf.Tensor]

_NEAR_SHARE = 0.01  # Bounds beyond which a note is written.
_LOW_ACCEPTANCE = 0.4
# By Markov's inequality, the mean of the weights is e^5 times its expectation with a probability below e^-5.
_SURELY = 10.0
_ERRORS = 3  # Standard errors by which the means of log w of the two sides differ for sure.


def likelihood(
    config: Config,
    workdir: str,
    num_chains: int,
    ais_steps: int,
    hmc_leapfrog: int,
    weights: Weights = Weights.EMA,
    step: int | None = None,
) -> dict[str, str]:
    """Computes bounds of the bits per dimension of test images, and writes them as JSON.

    The log density of y_0, an image with the noise of level 0, is F(y_0, 0) - log Z_0, where F is the output
    of the network and Z_0 its normalising constant. Chains annealed from noise to level 0 bound log Z_0 from
    below. Chains annealed from samples of the model to noise estimate it from above. All chains are saved as
    they run. A later call with the same settings continues them, and may ask for more chains.

    If the model was trained at all noise levels, its own proposals carry the chains from level to level.
    Otherwise the chains stay where they are between the levels.

    Args:
      config: the configuration. Its option `num_real` is the largest number of test images; 0: all.
      workdir: the run's directory.
      num_chains: number of chains in each direction.
      ais_steps: number of steps between noise and level 0. If the model was not trained at all noise levels,
        the number is approximate, and each level has at least one step.
      hmc_leapfrog: leapfrog steps of a transition of Hamiltonian Monte Carlo.
      weights: 'ema' (averages) or 'raw'.
      step: training step of the checkpoint; None: the newest.

    Returns:
      Lines to print, {label: text}: the bounds, log Z_0 from both directions, figures on how well the chains
      ran, notes on the limits of the result, and the path of the JSON file.

    Raises:
      UserError: there is no undamaged checkpoint, the energies are not finite, or another process computes
        the same estimate.
    """
    exact = config.replace(precision='float32', final_denoise=False)
    model, step = checkpoint.load_model(workdir, exact, step)
    path, density_at = _path(model, weights, ais_steps)
    seed = config.training.seed
    options = partition.Options(num_chains, hmc_leapfrog, config.sampling.sample_batch_size, seed)
    settings = {**_settings(model, step, weights, options, ais_steps), **path.settings}
    name = f'{step:08d}-{weights}-{ais_steps}x{hmc_leapfrog}-{digest(json.dumps(settings, sort_keys=True))}'
    directory = os.path.join(workdir, 'likelihood', name)
    written = f'{directory}-{num_chains}.json'

    with held(directory, '--seed'):
        begin = time.monotonic()
        write_json(os.path.join(directory, 'settings.json'), settings)
        sides = partition.Partition(path, density_at, config.image_shape, options, directory)
        low, high = _run(sides, model, weights, seed)
        limit = config.evaluation.num_real or None
        images = held_out.terms(
            model.schedule, lambda level: model.density_at(level, weights), config, 'test', limit
        )
        seconds = time.monotonic() - begin
        result = {
            **settings,
            **_effort(path, num_chains, hmc_leapfrog),
            'seconds_of_this_command': seconds,
            **bits_per_dim(model.schedule, config.image_shape, images, low.estimate, high.estimate),
            **_health(low, high),
        }
        result['notes'] = notes(config, result)
        write_json(written, result)
    return {**_figures(result), **side_by_side(workdir, result), 'likelihood': written}


def _path(
    model: EnergyModel, weights: Weights, ais_steps: int
) -> tuple[bridges.Bridges | walk_bridges.Walk, Callable[[tf.Tensor], LogDensity]]:
    """Returns the densities of annealing, and the argument of their method `density_of`."""
    if chains.has_learnt_levels(model.config):
        network = model.network_of(weights)
        path = walk_bridges.walk(model.schedule, network, ais_steps)
        return path, lambda angle: model.log_prob_at(angle, weights)
    return bridges.spaced(model.schedule, ais_steps), lambda level: model.density_at(level, weights)


def _run(
    sides: partition.Partition, model: EnergyModel, weights: Weights, seed: int
) -> tuple[partition.Side, partition.Side]:
    """Runs the chains of both sides, with a progress bar."""
    q = pilot.steps(model, weights)
    long_run = sides.path.last

    def samples_of(first: int, count: int) -> tf.Tensor:
        draw = Draw(first, weights, corrector_steps=q)
        return sides.path.states(model.sample(count, noise.root(seed, noise.LIKELIHOOD), draw)[-1])

    with pictures.progress_bar(sides.num_steps(long_run), 'annealing', unit=' transitions') as bar:
        return sides.forward(bar.update), sides.reverse(samples_of, long_run, bar.update)


def _effort(path: bridges.Bridges | walk_bridges.Walk, num_chains: int, num_leapfrog: int) -> dict[str, int]:
    """Returns the number of gradients of a chain in each direction, without the pilot run, as JSON values."""
    last = path.last
    orders = {
        'forward': np.arange(1, last + 1),
        'reverse': np.append(np.full(last, last), np.arange(last)[::-1]),
    }
    gradients = {
        f'gradients_of_a_{name}_chain': path.gradients(order, num_leapfrog) for name, order in orders.items()
    }
    return {'num_chains': num_chains, 'transitions': last, **gradients}


def _health(low: partition.Side, high: partition.Side) -> dict[str, float]:
    """Returns mean acceptance, and share of states near the walls (0 without walls), of both sides."""
    sides = {'forward': low, 'reverse': high}
    acceptance = {f'acceptance_{name}': float(np.mean(side.acceptance)) for name, side in sides.items()}
    return {**acceptance, **{f'near_wall_{name}': side.near_wall for name, side in sides.items()}}


def notes(config: Config, result: Mapping[str, Any]) -> list[str]:
    """Returns sentences that tell a user how far to trust the figures of --method=ais.

    One sentence says that the two sides contradict each other. It takes more than their errors to say so: 10
    nats between the estimates of log Z_0, or 3 standard errors of the means of log w.

    Args:
      config: the configuration of the model.
      result: the result of `likelihood`, as in its JSON file, but for its notes.
    """
    found = [
        'high is an estimate, not a bound: its chains start at long-run samples of the model, which are not '
        'exact'
    ]
    if any(config.diffusion.mcmc_steps) and config.training.objective == 'contrastive':
        found.append(
            'the energies were fitted to short chains that do not mix: these figures may mean nothing'
        )
    if config.data.num_classes:
        found.append('of the model without a class')
    if max(result['near_wall_forward'], result['near_wall_reverse']) > _NEAR_SHARE:
        found.append(f'states of level 0 are near the walls, |y| = {result["wall"]:g}: log Z depends on them')
    if min(result['effective_sample_size_low'], result['effective_sample_size_high']) < FEW_EFFECTIVE:
        found.append(
            'few chains carry the weight, so the error is unknown; raise --ais_steps or --hmc_leapfrog'
        )
    if min(result['acceptance_forward'], result['acceptance_reverse']) < _LOW_ACCEPTANCE:
        found.append('chains hardly move: the figures say little; raise --ais_steps')
    apart = result['log_z_low_mean_log'] - result['log_z_high_mean_log']
    error = math.hypot(result['log_z_low_mean_log_error'], result['log_z_high_mean_log_error'])
    if result['log_z_low'] - result['log_z_high'] > _SURELY or apart > _ERRORS * error:
        found.append(
            'high is below low: the long-run samples miss a part of the model. Its log Z_0 is hardly below '
            f'{result["log_z_low"] - _SURELY / 2:.0f} nats'
        )
    return found


def _figures(result: Mapping[str, Any]) -> dict[str, str]:
    """Formats the main numbers of the JSON result of `likelihood` as lines to print, {label: text}."""

    def number(name: str, digits: str) -> str:
        error = result[f'{name}_error']
        if error is None:
            return f'{result[name]:{digits}}'
        return f'{result[name]:{digits}} ± {error:.2g}'

    def both(kind: str, way: str = '') -> str:
        low = number(f'{kind}_low{way}', '.4g')
        high = number(f'{kind}_high{way}', '.4g')
        return f'{low} (low) to {high} (high) bits/dim'

    def log_z(side: str) -> str:
        size = f'{result[f"effective_sample_size_{side}"]:.3g} of {result["num_chains"]} chains effective'
        return f'{number(f"log_z_{side}", ".2f")} nats, {size}'

    def shares(name: str, digits: str) -> str:
        return ', '.join(f'{result[f"{name}_{side}"]:{digits}} {side}' for side in ('forward', 'reverse'))

    walls = {}
    if 'wall' in result:
        share = shares('near_wall', '.0%')
        walls['near the walls'] = f'{share}, of the states of level 0; walls: |y| = {result["wall"]:g}'
    return {
        'density of x_0': f'{both("density")}; D = {result["D"]}, noise floor {result["noise_floor"]:.2f}',
        'by mean of log w': f'{both("density", "_mean_log")}: looser, with reliable errors',
        'grey levels': f'a bound, {both("discrete")}',
        'log Z_0, forward': f'{log_z("low")}; a lower bound in expectation',
        'log Z_0, reverse': f'{log_z("high")}',
        'acceptance': shares('acceptance', '.2f'),
        'images': f'{result["num_images"]:,} of the test split',
        **walls,
        **{f'note {number}': note for number, note in enumerate(result['notes'], 1)},
    }


def _settings(
    model: EnergyModel, step: int, weights: Weights, options: partition.Options, ais_steps: int
) -> dict[str, Any]:
    """Returns all settings that decide the figures, except the number of chains, as JSON values."""
    values = dataclasses.asdict(options)
    del values['num_chains']
    sampling = {
        name: value
        for name, value in dataclasses.asdict(model.config.sampling).items()
        if name != 'sample_batch_size'
    }
    settings = {
        'step': step,
        'weights': weights,
        'weights_sha256': samples.fingerprint(model, weights),
        'ais_steps': ais_steps,
        **values,
        'mcmc_steps': model.config.diffusion.mcmc_steps,
        'proposal': model.config.diffusion.proposal,
        **sampling,
    }
    return json.loads(json.dumps(settings))
