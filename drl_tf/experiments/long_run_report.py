"""Writes the report of --mode=long_run: strips of images, energies, diagnostics and Fréchet distances."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from absl import logging
from matplotlib.figure import Figure

from drl_tf.base import pixels
from drl_tf.base.errors import UserError
from drl_tf.base.files import write_json, written_aside
from drl_tf.core import diffusion, noise
from drl_tf.evaluation.evaluator import Evaluator
from drl_tf.experiments import chains
from drl_tf.runs import charts, pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from drl_tf.config.config import Config
    from drl_tf.core.diffusion import Schedule
    from drl_tf.experiments.long_run import Plan
    from drl_tf.experiments.long_run_chains import Level

_STRIP_IMAGES = 6
_POINTS = 200  # Points of a curve.
_LINEAR = 10  # Nats: beyond this the axis of energies is logarithmic.
_COLOURS = ('tab:blue', 'tab:orange')
_ACCEPTANCES = (0.6, 0.9)  # We warn of an acceptance outside this range.


def write(
    config: Config, root: str, plan: Plan, levels: Sequence[Level], kinds: Sequence[str]
) -> dict[str, str]:
    """Writes the report on long chains: strips of images, a figure and metrics.

    Args:
      config: the configuration of the model.
      root: the directory for the files.
      plan: which chains were to run, and for how long, a `long_run.Plan`.
      levels: the chains of each noise level, a `long_run_chains.Level` each.
      kinds: names of the two kinds of chains: those that start at the noisier image x_{t+1}, and those that
        start at the noisy real image.

    Returns:
      Lines to print, {label: text}: the result for each level, and the paths of the files.
    """
    found = {}
    for level in levels:
        strip = os.path.join(root, f'strip-level{level.t:03d}.png')
        pictures.save_png(strip, _strip(level), [str(step) for step in level.steps()])
        found[level.t] = {**_diagnosed(level, plan), **_distances(config, root, level, kinds)}
    figure = os.path.join(root, 'long_run.png')
    metrics = os.path.join(root, 'metrics.json')
    energy = 'minus log p(y_t | x_{t+1}) up to a constant, in nats'
    write_json(metrics, {'levels': found, 'energy': energy})
    _write_table(os.path.join(root, 'metrics.csv'), levels, found, kinds)
    _draw(figure, levels, found, kinds)
    return {
        **{f'level {t}': _said(one, kinds) for t, one in found.items()},
        'figure': figure,
        'strips': os.path.join(root, 'strip-level*.png'),
        'metrics': metrics,
    }


def _halves(level: Level, array: np.ndarray) -> np.ndarray:
    """Splits an array [..., 2 n], a column for each chain, into the two kinds of chains, [..., 2, n]."""
    return array.reshape(*array.shape[:-1], 2, -1)


def _strip(level: Level) -> np.ndarray:
    """Returns a grid: a row per image, a column for the states after 0, 1, 3, 10, .. and all transitions.

    The chains in the upper half of the rows start at x_{t+1}, in the lower half at the data. Points of the
    plane have one row per kind, with a cloud in each column.
    """
    parts = [np.split(states, 2) for states in level.states().values()]
    rows = [pictures.trajectory([part[kind] for part in parts], _STRIP_IMAGES) for kind in range(2)]
    return np.concatenate(rows)


def _diagnosed(level: Level, plan: Plan) -> dict[str, Any]:
    """Returns diagnostics of the chains after the burn-in, {name: JSON value}."""
    found: dict[str, Any] = {
        'transitions': level.done,
        'of': plan.steps,
        'burn_in': plan.burn_in,
        'diverged': level.diverged,
        'step_size': chains.step_size(level.results),
    }
    if level.diverged or not level.done:
        return found
    energies, accepted = (_halves(level, array)[plan.burn_in :] for array in level.files.trace(level.done))
    for name, value in chains.diagnose(energies, accepted).items():
        found[name] = value if np.isfinite(value) else None
    if plan.method == 'langevin':
        found.pop('acceptance', None)
    low, high = _ACCEPTANCES
    if 'acceptance' in found and not low <= found['acceptance'] <= high:
        message = 'level %d: acceptance %.2f is not between %g and %g: raise --chain_burn_in'
        logging.warning(message, level.t, found['acceptance'], low, high)
    return found


def seed_of(config: Config) -> tf.Tensor:
    """Returns the random seed of the chains of --mode=long_run, int32 [2], from the option `seed`."""
    return noise.fold(noise.root(config.training.seed, noise.LONG_RUN), 0)


class Diffused:
    """A callable that adds the noise of level t to real images, to compare noisy samples with them.

    Pass it as `changed` to `Evaluator`, the class that compares images with those of a dataset. It is called
    with an iterable of batches of real images, uint8 [n, H, W, C], and yields the batches with noise, also
    uint8 [n, H, W, C].

    Args:
      schedule: noise levels of the model.
      t: the noise level.
      seed: int32 [2].
    """

    def __init__(self, schedule: Schedule, t: int, seed: tf.Tensor):
        self.schedule = schedule
        self.t = t
        self.seed = noise.fold(seed, noise.FORWARD, t)
        self.words = f'as x_{t}'

    def __call__(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        first = 0
        for images in batches:
            x = pixels.from_levels(tf.cast(images, tf.float32))
            eps = noise.normal(self.seed, tf.shape(x), first)
            level = tf.fill([len(x)], self.t)
            x_t = diffusion.at(self.schedule.A, level) * x + diffusion.at(self.schedule.S, level) * eps
            yield pixels.to_uint8(x_t)
            first += len(images)


def _distances(config: Config, root: str, level: Level, kinds: Sequence[str]) -> dict[str, Any]:
    """Computes the Fréchet distances of the states of each kind from real images with the same noise.

    Returns:
      {'frechet_distance': {kind: {step: number}}, 'extractor': name}; {} if no extractor fits the images.
    """
    if config.planar:
        return {}
    diffused = Diffused(level.sampler.model.schedule, level.t, seed_of(config))
    parts = os.path.join(root, f'parts{level.t:03d}')
    try:
        evaluator = Evaluator(config.replace(stats_file=''), parts, diffused)
    except UserError as error:
        logging.warning('no Fréchet distances: %s', error)
        return {}
    distances: dict[str, dict[int, float]] = {kind: {} for kind in kinds}
    for step, both in level.states().items():
        for kind, states in zip(kinds, np.split(both, 2), strict=True):
            if np.isfinite(states).all():
                distances[kind][step] = evaluator.distance([pixels.to_uint8(states)])
    features = len(evaluator.real.mean)
    count = len(both) // 2
    if count <= features:
        logging.warning(
            'level %d: %d chains of each kind are no more than the %d features: the distances are mostly '
            'bias, compare them only with each other; raise --num_chains',
            level.t,
            count,
            features,
        )
    return {'frechet_distance': distances, 'extractor': evaluator.extractor.name}


def _write_table(path: str, levels: Sequence[Level], found: Mapping[int, Any], kinds: Sequence[str]) -> None:
    """Writes a CSV file with a row for each level, kind and step with a snapshot."""
    with written_aside(path) as file:
        writer = csv.writer(file)
        writer.writerow(['level', 'start', 'transitions', 'mean_energy', 'frechet_distance'])
        for level in levels:
            energies = _halves(level, level.files.trace(level.done)[0]) if level.done else np.zeros([0, 2, 0])
            for index, kind in enumerate(kinds):
                distances = found[level.t].get('frechet_distance', {}).get(kind, {})
                for step in level.steps():
                    energy = float(energies[step - 1, index].mean()) if step else ''
                    writer.writerow([level.t, kind, step, energy, distances.get(step, '')])


def _draw(path: str, levels: Sequence[Level], found: Mapping[int, Any], kinds: Sequence[str]) -> None:
    """Draws a row for each level: energies, and Fréchet distances, over transitions.

    The plot of energies shows the median and the middle 80 % of the chains. Because energies differ far more
    between images than within a chain, the mean over the last half of each chain is subtracted.
    """
    columns = 2 if any('frechet_distance' in one for one in found.values()) else 1
    figure = Figure(figsize=(4.5 * columns, 2.8 * len(levels)), layout='constrained')
    axes = figure.subplots(len(levels), columns, squeeze=False)
    for row, level in zip(axes, levels, strict=True):
        if level.done:
            draw_energies(row[0], _halves(level, level.files.trace(level.done)[0]), kinds)
        row[0].set(
            xscale='log',
            xlabel='transitions',
            ylabel='energy (nats)',
            title=f'level {level.t}: energy less the mean of its last half',
        )
        row[0].set_yscale('symlog', linthresh=_LINEAR)
        if columns == 2:
            _draw_distances(row[1], found[level.t], kinds)
    charts.save(path, figure, dpi=110)


def _draw_distances(axes: Axes, found: Mapping[str, Any], kinds: Sequence[str]) -> None:
    """Draws the Fréchet distances of a level; leaves the axes empty if there are none."""
    for kind, colour in zip(kinds, _COLOURS, strict=True):
        distances = found.get('frechet_distance', {}).get(kind)
        if distances:
            numbers = list(distances.values())
            axes.plot(list(distances), numbers, marker='o', color=colour, label=f'from {kind}')
            title = f'Fréchet distance ({found["extractor"]})'
            axes.set(xscale='symlog', xlabel='transitions', title=title)
            axes.set_ylim(0, 1.1 * max(axes.dataLim.y1, 1e-3))
            axes.legend()


def draw_energies(axes: Axes, energies: np.ndarray, kinds: Sequence[str]) -> None:
    """Plots the energies of two kinds of chains over the transitions: the median and the middle 80 %.

    First, the mean energy of each chain over the last half of its transitions is subtracted.

    Args:
      axes: matplotlib axes.
      energies: for each transition, kind and chain, float [transitions, 2, n]; transitions with a value that
        is not finite are left out.
      kinds: names of the two kinds.
    """
    energies = energies[np.isfinite(energies).all(axis=(1, 2))]
    if not len(energies):
        return
    energies = energies - energies[len(energies) // 2 :].mean(axis=0)
    steps = np.unique(np.geomspace(1, len(energies), _POINTS).astype(int))
    for index, (kind, colour) in enumerate(zip(kinds, _COLOURS, strict=True)):
        low, middle, high = np.percentile(energies[steps - 1, index], [10, 50, 90], axis=1)
        axes.fill_between(steps, low, high, color=colour, alpha=0.25, linewidth=0)
        axes.plot(steps, middle, color=colour, label=f'from {kind}')
    axes.legend()


def _said(one: Mapping[str, Any], kinds: Sequence[str]) -> str:
    """Returns a line of text on one level."""
    done = one['transitions']
    words = [f'{done:,} of {max(one["of"], done):,} transitions']
    if one['diverged']:
        words.append('diverged (non-finite)')
    if 'acceptance' in one:
        words.append(f'acceptance {one["acceptance"]:.2f}')
    if one.get('r_hat_max') and one['ess_median']:
        words.append(f'split R-hat {one["r_hat_median"]:.3f} (median), {one["r_hat_max"]:.3f} (largest)')
        counted = f'{one["ess_median"]:.0f} of {done - one["burn_in"]:,} (median)'
        words.append(f'effective sample size {counted}')
    elif not one['diverged'] and 'r_hat_max' in one:
        words.append('some chains never moved')
    elif not one['diverged']:
        words.append('too few after the burn-in to tell how they mix')
    for kind in kinds:
        distances = list(one.get('frechet_distance', {}).get(kind, {}).values())
        if distances:
            words.append(f'Fréchet distance from {kind} {distances[0]:.3g} -> {distances[-1]:.3g}')
    return '; '.join(words)
