"""What is said and shown of long-run chains: strips of states, traces of the energy, diagnoses, Fréchet
distances."""

import csv
import os

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
from drl_tf.runs import pictures

_STRIP_IMAGES, _POINTS = 6, 200
_LINEAR = 10  # Nats; further from 0 the axis of energies is logarithmic.
_COLOURS = ('tab:blue', 'tab:orange')


def write(config, root, plan, levels, kinds):
    """Writes strips, figure and metrics of the chains of some levels.

    Args:
      config: a `Config`.
      root: the directory for them.
      plan: a `long_run.Plan`.
      levels: `long_run.Level`s.
      kinds: names of the two halves of their chains.

    Returns:
      Where things are, as {label: text}.
    """
    found = {}
    for level in levels:
        strip = os.path.join(root, f'strip-level{level.t:03d}.png')
        pictures.save_png(strip, _strip(level), [str(step) for step in level.steps()])
        found[level.t] = {**_diagnosed(level, plan), **_distances(config, root, level, kinds)}
    paths = {name: os.path.join(root, name) for name in ('long_run.png', 'metrics.json', 'metrics.csv')}
    write_json(
        paths['metrics.json'],
        {'levels': found, 'energy': 'minus log p(y_t | x_{t+1}) up to a constant, in nats'},
    )
    _write_table(paths['metrics.csv'], levels, found, kinds)
    _draw(paths['long_run.png'], levels, found, kinds)
    said = {f'level {t}': _said(one, kinds) for t, one in found.items()}
    return {
        **said,
        'figure': paths['long_run.png'],
        'strips': os.path.join(root, 'strip-level*.png'),
        'metrics': paths['metrics.json'],
    }


def halves(level, array):
    """The chains of each kind, [..., 2 n, ...] along the last axis -> [..., 2, n]."""
    return array.reshape(*array.shape[:-1], 2, -1)


def _strip(level):
    """Rows of images, the columns states after 0, 1, 3, 10, .. transitions and the last: half from x_{t+1},
    half from the data.

    Points are a cloud for each column, a row for each kind.
    """
    parts = [np.split(states, 2) for states in level.states().values()]
    rows = [pictures.trajectory([part[kind] for part in parts], _STRIP_IMAGES) for kind in range(2)]
    return np.concatenate(rows)


def _diagnosed(level, plan):
    """What the chains say of themselves after the burn-in."""
    said = {'transitions': level.done, 'of': plan.steps, 'burn_in': plan.burn_in, 'diverged': level.diverged}
    said |= {'step_size': chains.step_size(level.results)}
    if level.diverged or not level.done:
        return said
    energies, accepted = (halves(level, array)[plan.burn_in :] for array in level.files.trace(level.done))
    said |= {
        name: value if np.isfinite(value) else None
        for name, value in chains.diagnose(energies, accepted).items()
    }
    if plan.method == 'langevin':
        said.pop('acceptance', None)
    low, high = 0.6, 0.9
    if 'acceptance' in said and not low <= said['acceptance'] <= high:
        logging.warning(
            'level %d: acceptance %.2f is not within %g and %g: raise --chain_burn_in',
            level.t,
            said['acceptance'],
            low,
            high,
        )
    return said


def seed_of(config):
    """The seed of long-run chains, int32 [2], apart from all others of the run."""
    return noise.fold(noise.root(config.training.seed, noise.LONG_RUN), 0)


class Diffused:
    """Makes x_t of real images."""

    def __init__(self, schedule, t, seed):
        self.schedule, self.t, self.seed, self.words = (
            schedule,
            t,
            noise.fold(seed, noise.FORWARD, t),
            f'as x_{t}',
        )

    def __call__(self, batches):
        first = 0
        for images in batches:
            x = pixels.from_levels(tf.cast(images, tf.float32))
            eps, level = noise.normal(self.seed, tf.shape(x), first), tf.fill([len(x)], self.t)
            yield pixels.to_uint8(
                diffusion.at(self.schedule.A, level) * x + diffusion.at(self.schedule.S, level) * eps
            )
            first += len(images)


def _distances(config, root, level, kinds):
    """Fréchet distances of the states of either kind from real images at the same noise, {'frechet': {kind:
    {step: number}}, ..}.

    Nothing where the images have no features.
    """
    if config.planar:
        return {}
    diffused = Diffused(level.sampler.model.schedule, level.t, seed_of(config))
    try:
        evaluator = Evaluator(
            config.replace(stats_file=''), os.path.join(root, f'parts{level.t:03d}'), diffused
        )
    except UserError as error:
        logging.warning('no Fréchet distances: %s', error)
        return {}
    distances = {kind: {} for kind in kinds}
    for step, both in level.states().items():
        for kind, states in zip(kinds, np.split(both, 2), strict=True):
            if np.isfinite(states).all():
                distances[kind][step] = evaluator.distance([pixels.to_uint8(states)])
    features = len(evaluator.real.mean)
    if len(both) // 2 <= features:
        logging.warning('level %d: %d chains of either kind, no more than the %d features: the distances '
                        'are mostly bias and compare '
                        'with each other alone; raise '
                        '--num_chains', level.t, len(both) // 2, features)  # fmt: skip
    return {'frechet_distance': distances, 'extractor': evaluator.extractor.name}


def _write_table(path, levels, found, kinds):
    """A row for each level, kind and step whose states were kept."""
    with written_aside(path) as file:
        writer = csv.writer(file)
        writer.writerow(['level', 'start', 'transitions', 'mean_energy', 'frechet_distance'])
        for level in levels:
            energies = halves(level, level.files.trace(level.done)[0]) if level.done else None
            for index, kind in enumerate(kinds):
                distances = found[level.t].get('frechet_distance', {}).get(kind, {})
                for step in level.steps():
                    energy = float(energies[step - 1, index].mean()) if step else ''
                    writer.writerow([level.t, kind, step, energy, distances.get(step, '')])


def _draw(path, levels, found, kinds):
    """A row for each level: energies against transitions, median and the middle 80 % of the chains; Fréchet
    distances.

    Energies differ between images by far more than a chain moves: each is from the mean over the last half of
    its own chain.
    """
    columns = 2 if any('frechet_distance' in one for one in found.values()) else 1
    figure = Figure(figsize=(4.5 * columns, 2.8 * len(levels)), layout='constrained')
    axes = figure.subplots(len(levels), columns, squeeze=False)
    for row, level in zip(axes, levels, strict=True):
        if level.done:
            draw_energies(row[0], halves(level, level.files.trace(level.done)[0]), kinds)
        row[0].set(
            xscale='log',
            xlabel='transitions',
            ylabel='energy (nats)',
            title=f'level {level.t}: energy less the mean of its last half',
        )
        row[0].set_yscale('symlog', linthresh=_LINEAR)
        for kind, colour in zip(kinds, _COLOURS, strict=True):
            distances = found[level.t].get('frechet_distance', {}).get(kind)
            if distances:
                row[1].plot(
                    list(distances), list(distances.values()), marker='o', color=colour, label=f'from {kind}'
                )
                title = f'Fréchet distance ({found[level.t]["extractor"]})'
                row[1].set(xscale='symlog', xlabel='transitions', title=title)
                row[1].set_ylim(0, 1.1 * max(row[1].dataLim.y1, 1e-3))
                row[1].legend()
    with written_aside(path, 'wb') as file:
        figure.savefig(file, format='png', dpi=110)


def draw_energies(axes, energies, kinds):
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


def _said(one, kinds):
    """A line on one level."""
    words = [f'{one["transitions"]:,} of {max(one["of"], one["transitions"]):,} transitions']
    if one['diverged']:
        words.append('diverged (non-finite)')
    if 'acceptance' in one:
        words.append(f'acceptance {one["acceptance"]:.2f}')
    if one.get('r_hat_max') and one['ess_median']:
        words.append(f'split R-hat {one["r_hat_median"]:.3f} (median), {one["r_hat_max"]:.3f} (largest)')
        words.append(
            f'effective sample size {one["ess_median"]:.0f} of {one["transitions"] - one["burn_in"]:,} '
            '(median)'
        )
    elif not one['diverged']:
        words.append(
            'some chains never moved'
            if 'r_hat_max' in one
            else 'too few after the burn-in to tell how they mix'
        )
    for kind in kinds:
        distances = list(one.get('frechet_distance', {}).get(kind, {}).values())
        if distances:
            words.append(f'Fréchet distance from {kind} {distances[0]:.3g} -> {distances[-1]:.3g}')
    return '; '.join(words)
