"""Plots densities of the plane that a model has learnt, and computes their log Z (--mode=density)."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging
from matplotlib.figure import Figure

from drl_tf.base.files import write_json
from drl_tf.core import noise, pilot
from drl_tf.core.sampling import Draw
from drl_tf.core.weights import Weights
from drl_tf.data import plane
from drl_tf.experiments import annealing, bridges
from drl_tf.experiments.annealed_points import annealed
from drl_tf.experiments.heights_of_points import of_points
from drl_tf.runs import charts, checkpoint, samples

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.diffusion import Schedule
    from drl_tf.core.energy_model import EnergyModel
    from drl_tf.runs.heights import Heights

LogDensity = Callable[[tf.Tensor], tf.Tensor]

_AT_ONCE = 65_536  # Points that go through the network together.
_FINEST = 0.01  # Smallest spacing of a grid.
_COARSEST = 0.05  # Largest spacing of a grid.
_FRESH = 2**31 - 1  # Number of a batch that no training reaches.
_NUM_FRESH = 65_536
_MOST_ERRORS = 3  # We warn if annealing and quadrature are more standard errors apart.
_BINS = 80
_MOST_LEVELS = 10


class Grid(NamedTuple):
    """A log density on a grid of equal squares, which tile the box |y|_inf <= 6 of the plane.

    Attributes:
      side: coordinates of the midpoints of the squares along either axis, float64 [n].
      log_density: the log density at the midpoints, float64 [n, n]; entry [i, j] is at (side[j], side[i]).
      log_z: logarithm of the integral of the density.
      error: estimated error of `log_z`, from grids of twice the spacing.
    """

    side: np.ndarray
    log_density: np.ndarray
    log_z: float
    error: float


def density(
    config: Config,
    workdir: str,
    num_samples: int,
    num_chains: int,
    ais_steps: int,
    hmc_leapfrog: int,
    weights: Weights = Weights.EMA,
    step: int | None = None,
) -> dict[str, str]:
    """Computes log Z of a model of points of the plane by quadrature and by annealing, and plots densities.

    Args:
      config: a configuration with a dataset of points of the plane.
      workdir: the run's directory.
      num_samples: points to sample at each level, for the plot.
      num_chains: number of chains of annealed importance sampling.
      ais_steps: approximate number of densities through which each chain passes.
      hmc_leapfrog: leapfrog steps of a transition of the chains.
      weights: 'ema' (averages) or 'raw'.
      step: training step of the checkpoint; None: the newest.

    Returns:
      Lines to print, {label: text}: results for at most ten noise levels, and the paths of the files.

    Raises:
      UserError: there is no undamaged checkpoint.
    """
    model, step = checkpoint.load_model(workdir, config.replace(precision='float32', sampling_levels=0), step)
    schedule = model.schedule
    seed = config.training.seed

    def density_at(level: tf.Tensor) -> LogDensity:
        return model.density_at(level, weights)

    levels = shown_levels(schedule)
    grids = {t: quadrature(density_at(tf.constant([t])), schedule.m[t] * schedule.S[t]) for t in levels}
    estimates, back = annealed(schedule, density_at, num_chains, ais_steps, hmc_leapfrog, seed)
    data = {t: _diffused(schedule, config.data.dataset, t, seed) for t in levels}
    likelihoods = _likelihoods(schedule, density_at, grids, data)
    name = f'{step:08d}-{weights}-{ais_steps}x{hmc_leapfrog}-{num_chains}-seed{seed}'
    stem = os.path.join(workdir, 'density', name)
    _draw(f'{stem}.png', grids, _sampled(model, levels, num_samples, weights), data)
    heights = of_points(model, weights)
    found = {t: {**compared(grids[t], estimates[t], likelihoods[t]), **_direct(heights, t)} for t in levels}
    found[0] |= {'log_z_back': -back.log_mean, 'back_error': back.standard_error}
    _warn_of_differences(found)
    source = {'step': step, 'weights': weights, 'weights_sha256': samples.fingerprint(model, weights)}
    effort = dict(
        num_samples=num_samples, num_chains=num_chains, ais_steps=ais_steps, hmc_leapfrog=hmc_leapfrog
    )
    summary = {'summary': dataclasses.asdict(heights)} if heights else {}
    write_json(f'{stem}.json', {**source, **effort, **summary, 'levels': found})
    return {
        **{f'level {t}': said(found[t]) for t in levels},
        'figure': f'{stem}.png',
        'figures': f'{stem}.json',
    }


def _likelihoods(
    schedule: Schedule,
    density_at: Callable[[tf.Tensor], LogDensity],
    grids: Mapping[int, Grid],
    data: Mapping[int, np.ndarray],
) -> dict[int, float]:
    """Returns the mean log density of x_t at each level t, of the points y_t = m_t x_t in `data`."""
    means = {t: float(np.mean(_evaluate(density_at(tf.constant([t])), data[t]))) for t in data}
    return {t: means[t] - grids[t].log_z + 2 * math.log(schedule.m[t]) for t in data}


def _direct(heights: Heights | None, t: int) -> dict[str, float]:
    """Returns log Z of level t from noisy points, by Bennett's ratio, and its error; {} if not known."""
    return {'log_z_direct': heights.log_z[t], 'direct_error': heights.log_z_error[t]} if heights else {}


def _warn_of_differences(found: Mapping[int, Mapping[str, float]]) -> None:
    """Warns of levels at which annealing and quadrature differ beyond their errors."""
    for t, figures in found.items():
        if abs(figures['differs_by_errors']) > _MOST_ERRORS:
            message = (
                'level %d: annealing and quadrature are over %d standard errors apart: raise --ais_steps'
            )
            logging.warning(message, t, _MOST_ERRORS)


def shown_levels(schedule: Schedule) -> list[int]:
    """Returns at most ten noise levels t to plot, from the highest down, evenly spaced in log noise."""
    if schedule.num_levels <= _MOST_LEVELS:
        return list(reversed(range(schedule.num_levels)))
    noises = schedule.S[:-1]
    wanted = np.geomspace(noises[-1], noises[0], _MOST_LEVELS)
    return sorted({int(np.abs(np.log(noises / width)).argmin()) for width in wanted}, reverse=True)


def quadrature(log_density: LogDensity, width: float) -> Grid:
    """Integrates a density over the box |y|_inf <= 6 by the midpoint rule; returns its values and log Z.

    Args:
      log_density: callable that maps y, float32 [n, 1, 1, 2], to its log density + const, float32 [n].
      width: width of the finest structure. The spacing is about half of it, but at least 0.01, at most 0.05.
    """
    count = 2 * math.ceil(bridges.WALL / np.clip(width / 2, _FINEST, _COARSEST))
    spacing = 2 * bridges.WALL / count
    side = (np.arange(count) + 0.5) * spacing - bridges.WALL
    points = np.stack(np.meshgrid(side, side), axis=-1).astype(np.float32).reshape(-1, *plane.IMAGE_SHAPE)
    values = _evaluate(log_density, points).reshape(count, count)
    log_z = _log_sum(values) + 2 * math.log(spacing)
    coarse = [
        _log_sum(values[row::2, column::2]) + 2 * math.log(2 * spacing)
        for row in range(2)
        for column in range(2)
    ]
    return Grid(side, values, log_z, max(abs(other - log_z) for other in coarse))


def _evaluate(log_density: LogDensity, points: np.ndarray) -> np.ndarray:
    """Computes the log density of points, float64 [n]."""
    log_density = tf.function(log_density, autograph=False)
    parts = [points[first : first + _AT_ONCE] for first in range(0, len(points), _AT_ONCE)]
    return np.concatenate([log_density(tf.constant(part)).numpy() for part in parts]).astype(np.float64)


def _log_sum(values: np.ndarray) -> float:
    """Computes the logarithm of the sum of exp(values)."""
    largest = values.max()
    return float(largest + math.log(np.exp(values - largest).sum()))


def _diffused(schedule: Schedule, name: str, t: int, seed: int) -> np.ndarray:
    """Draws fresh points of a dataset, diffused to level t, y_t = m_t x_t, float32 [n, 1, 1, 2]."""
    x = plane.points(name, seed, _FRESH, _NUM_FRESH)
    eps = noise.normal(noise.fold(noise.root(seed, noise.LIKELIHOOD), noise.FORWARD, t), x.shape).numpy()
    return (schedule.m[t] * (schedule.A[t] * x + schedule.S[t] * eps)).astype(np.float32)


def _sampled(
    model: EnergyModel, levels: Sequence[int], num_samples: int, weights: Weights
) -> dict[int, np.ndarray]:
    """Draws progressive samples y_t = m_t x_t at some levels, top first: {t: float32 [n, 1, 1, 2]}."""
    seed = noise.root(model.config.training.seed, noise.SAMPLING)
    found = {}
    x = model.prior(num_samples, noise.fold(seed, noise.PRIOR), 0)
    draw = Draw(weights=weights, corrector_steps=pilot.steps(model, weights))
    for high, low in itertools.pairwise([model.schedule.num_levels, *levels]):
        x, _ = model.walk_levels(x, tf.constant(high), tf.constant(low), seed, draw)
        found[low] = model.schedule.m[low] * x.numpy()
    return found


def compared(grid: Grid, estimate: annealing.Estimate, likelihood: float) -> dict[str, float]:
    """Compares log Z of a noise level by quadrature (`grid`) and by annealing (`estimate`), {name: number}.

    The dict has 'log_z_quadrature', 'log_z_annealed', their errors, and 'differs_by_errors', the difference
    divided by its error. `likelihood`, the mean log density of new noisy points, is stored with them.
    'near_wall' is the share of the density on `grid` where |y|_inf is above 5.7; the grid ends at 6.
    """
    error = math.hypot(estimate.standard_error, grid.error)
    rim = np.abs(grid.side) > bridges.NEAR
    density = np.exp(grid.log_density - grid.log_density.max())
    return {
        'near_wall': float(density[rim[:, None] | rim].sum() / density.sum()),
        'log_z_quadrature': grid.log_z,
        'quadrature_error': grid.error,
        'log_z_annealed': estimate.log_mean,
        'standard_error': estimate.standard_error,
        'effective_sample_size': estimate.effective_sample_size,
        'differs_by_errors': (estimate.log_mean - grid.log_z) / error,
        'mean_log_density_of_fresh_points': likelihood,
    }


def said(found: Mapping[str, Any]) -> str:
    """Returns a line of text on log Z of a noise level, with the error of each estimate.

    `found` is the dict that `compared` returns; 'log_z_direct' and 'direct_error' (Bennett) are optional.
    """
    errors = abs(found['differs_by_errors'])
    line = (
        f'log Z {found["log_z_quadrature"]:.4f} by quadrature (± {found["quadrature_error"]:.1g}), '
        f'{found["log_z_annealed"]:.4f} ± {found["standard_error"]:.2g} by annealed importance sampling: '
        f'{errors:.1f} standard errors apart'
    )
    if 'log_z_back' in found:
        line += f', {found["log_z_back"]:.4f} ± {found["back_error"]:.2g} by chains back to noise'
    if errors > _MOST_ERRORS:
        line += f', more than {_MOST_ERRORS}'
    if 'log_z_direct' in found:
        apart = found['log_z_direct'] - found['log_z_quadrature']
        line += f'; {found["log_z_direct"]:.4f} ± {found["direct_error"]:.2g} from noisy points'
        line += f', {apart:+.4f} from quadrature'
    line += f'; log-likelihood of fresh points {found["mean_log_density_of_fresh_points"]:.3f} nats'
    if found['near_wall'] > 0.005:
        line += f'; {found["near_wall"]:.0%} of it near the wall at {bridges.WALL}: log Z depends on the wall'
    return line


def _draw(
    path: str, grids: Mapping[int, Grid], samples: Mapping[int, np.ndarray], data: Mapping[int, np.ndarray]
) -> None:
    """Draws a column for each level, from the top down: noisy data, progressive samples, the density."""
    figure = Figure(figsize=(1.5 * len(grids) + 0.4, 4.9), layout='constrained')
    axes = figure.subplots(3, len(grids), squeeze=False)
    for column, t in zip(axes.T, grids, strict=True):
        edge = 1.15 * float(np.quantile(np.abs(data[t]), 0.995))
        for place, points in zip(column, (data[t], samples[t]), strict=False):
            x, y = points.reshape(-1, 2).T
            place.hist2d(x, y, _BINS, [[-edge, edge]] * 2)
        shown = np.abs(grids[t].side) <= edge
        values = np.exp(grids[t].log_density[np.ix_(shown, shown)] - grids[t].log_z)
        column[2].imshow(values, origin='lower', extent=[-edge, edge, -edge, edge])
        column[0].set_title(f't = {t}')
    for row, words in zip(axes, ('data', 'samples', 'density'), strict=True):
        row[0].set_ylabel(words)
        for place in row:
            place.set(xticks=[], yticks=[], aspect='equal')
    charts.save(path, figure, dpi=110)
