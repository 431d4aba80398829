"""Makes the tables and charts of the page that reports a run, from the run's files (`RunFiles`)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from drl_tf.config import config as configuration
from drl_tf.config.option_fields import text, title
from drl_tf.report import charts, measured
from drl_tf.report.charts import Chart, Curve
from drl_tf.report.run_files import numbers_of

if TYPE_CHECKING:
    from drl_tf.report.measured import Measured
    from drl_tf.report.run_files import RunFiles

_MOST_LEVELS = 8  # Largest number of levels in a chart.
_ON_CHAINS = ('displacement', 'acceptance')
_TITLES = {
    'loss': 'loss',
    'gradient_norm': 'norm of the gradient in the weights',
    'images_per_second': 'images per second',
    'initializer_loss': 'loss of the initializer',
    'level_loss': 'loss',
    'level_f_pos': 'f of the data',
    'level_f_neg': 'f of the ends of the chains',
    'level_displacement': 'displacement of the chains (rms)',
    'level_gradient_norm': 'gradient in the image (rms)',
    'level_initializer_loss': 'loss of the initializer',
}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts: a caption above it, a header over the columns, and rows that begin with a title."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def number(value: float | None) -> str:
    """Formats a number with four significant digits; a dash stands for None and for NaN.

    Examples:
      >>> number(0.123456), number(12000), number(None)
      ('0.1235', '1.2e+04', '–')
    """
    return '–' if value is None or math.isnan(value) else f'{value:.4g}'


def title_of(name: str) -> str:
    """Returns a title for the name of a logged quantity, such as 'f of the data' for 'level_f_pos'."""
    return _TITLES.get(name, name.removeprefix('level_').replace('_', ' '))


def column(log: Sequence[Mapping[str, Any]], name: str, level: int | None = None) -> Curve:
    """Returns the curve of a logged quantity: the training steps, and its value at each (NaN: not logged).

    Args:
      log: lines of a log as dicts, each with an entry 'step'.
      name: name of the quantity, such as 'loss'.
      level: the noise level, for a quantity with one number per level; None: for a single number.
    """
    steps = [line['step'] for line in log]
    return steps, [_value(line.get(name), level) for line in log]


def _value(entry: Any, level: int | None) -> float:
    if level is not None:
        entry = entry[level] if isinstance(entry, list) and level < len(entry) else None
    return float(entry) if isinstance(entry, (int, float)) else math.nan


def names_of(log: Sequence[Mapping[str, Any]], by_level: bool) -> list[str]:
    """Lists the quantities in a log: if `by_level`, those with a number per level, else those with one."""
    kinds = list if by_level else (int, float)
    names = dict.fromkeys(name for line in log for name, value in line.items() if isinstance(value, kinds))
    order = [*_TITLES, *names]
    return sorted(names.keys() - {'step', 'time'}, key=order.index)


def shown_levels(count: int) -> list[int]:
    """Chooses at most 8 of the noise levels 0 to `count` - 1, evenly spaced, with the first and the last.

    Examples:
      >>> shown_levels(3), shown_levels(1000)
      ([0, 1, 2], [0, 143, 285, 428, 571, 714, 856, 999])
    """
    return np.linspace(0, count - 1, min(count, _MOST_LEVELS)).round().astype(int).tolist()


def _num_levels(log: Sequence[Mapping[str, Any]], name: str) -> int:
    return max(len(line[name]) for line in log if isinstance(line.get(name), list))


def curves(run: RunFiles, on_chains: bool) -> dict[str, Chart]:
    """Makes a chart over the training steps of each logged quantity, {name of the quantity: chart}.

    If `on_chains`, these are the acceptance and displacement of Markov chains, else all other quantities.
    """
    found = {}
    for name in names_of(run.log, by_level=False):
        if any(word in name for word in _ON_CHAINS) == on_chains:
            lines = {title_of(name): column(run.log, name)}
            found[name] = charts.curves(title_of(name), 'step', lines, run.rollbacks)
    for name in names_of(run.log, by_level=True):
        if any(word in name for word in _ON_CHAINS) == on_chains:
            levels = shown_levels(_num_levels(run.log, name))
            lines = {f'level {t}': column(run.log, name, t) for t in levels}
            found[name] = charts.curves(f'{title_of(name)}, by level', 'step', lines, run.rollbacks)
    return found


def last_line(run: RunFiles, on_chains: bool) -> Table | None:
    """Makes a table of quantities that the log has for each noise level, with their last values; or None.

    If `on_chains`, these are the acceptance and displacement of Markov chains, else all other quantities.
    """
    names = [
        name
        for name in names_of(run.log, by_level=True)
        if any(word in name for word in _ON_CHAINS) == on_chains
    ]
    if not names:
        return None
    levels = shown_levels(max(_num_levels(run.log, name) for name in names))
    rows = [[str(t), *(number(_value(run.log[-1].get(name), t)) for name in names)] for t in levels]
    return Table(f'By level at step {run.step:,}', ['level', *map(title_of, names)], rows)


def last_numbers(run: RunFiles) -> Table | None:
    """Tabulates the last values of logged quantities without levels, such as the loss; None if none exist."""
    rows = [
        [title_of(name), number(_value(run.log[-1].get(name), None))] for name in names_of(run.log, False)
    ]
    return Table(f'At step {run.step:,}', ['quantity', 'value'], rows) if rows else None


def score_chart(run: RunFiles) -> Chart | None:
    """Makes a chart of the Fréchet distance of samples during training; None if it was not measured."""
    name = next((name for line in run.scores for name in line if _is_distance(name)), None)
    if name is None:
        return None
    lines = {'samples': column(run.scores, name)}
    if any('floor' in line for line in run.scores):
        lines['held-out images (floor)'] = column(run.scores, 'floor')
    return charts.curves(_distance_title(name), 'step', lines, dots=True)


def _is_distance(name: str) -> bool:
    """Returns whether a score's name, such as 'fid', is that of the Fréchet distance of all samples."""
    return name.startswith(('fid', 'frechet_distance')) and not name.endswith(('_held_out_size', '_error'))


def _distance_title(name: str) -> str:
    """Returns a title for the name of a Fréchet distance: 'FID' for 'fid', else with the feature network."""
    extractor = name.removeprefix('frechet_distance_').replace('_', ' ')
    return 'FID' if name == 'fid' else f'Fréchet distance ({extractor})'


def scores(run: RunFiles) -> Table | None:
    """Tabulates the Fréchet distance and other scores of each set of samples; None if none were scored."""
    results = {**{f'training, step {line["step"]:,}': line for line in run.scores[-1:]}}
    results.update(run.results_of('evaluation/*.json'))
    rows = [[name, *_score(result)] for name, result in results.items() if any(map(_is_distance, result))]
    header = ['score of', 'step', 'Fréchet distance', 'floor', 'in parts', 'precision', 'recall']
    header += ['class agreement', 'samples', 'against']
    caption = 'Lower distances are better. The floor is the distance of held-out images from the same images.'
    return Table(caption, header, rows) if rows else None


def _score(result: Mapping[str, Any]) -> list[str]:
    """Returns the cells of a score, in the order of the columns of `scores`."""
    found = numbers_of(result)
    name = next(filter(_is_distance, result))
    shown = [name, 'floor', f'{name}_held_out_size', 'precision', 'recall', 'class_agreement']
    numbers = [number(found.get(each)) for each in shown]
    count = f'{int(found.get("num_samples", 0)):,}'
    return [f'{int(found.get("step", 0)):,}', *numbers, count, str(result.get('real', '–'))]


def likelihoods(run: RunFiles) -> Table | None:
    """Makes a table of bits per dimension of test images; None if `--mode=likelihood` has not run."""
    rows = []
    for path, result in run.results_of('likelihood/*.json').items():
        if result.get('method') == 'direct':
            test = result.get('test')
            found = numbers_of(test if isinstance(test, dict) else {})
            ends = [found.get('discrete_bennett')] * 2
        else:
            found = numbers_of(result)
            ends = [found.get('discrete_low'), found.get('discrete_high')]
        rows.append([path, *map(number, ends)])
    header = ['result', 'bits per dimension, low', 'high']
    return Table('Bits per dimension of the grey levels of the test images', header, rows) if rows else None


def sampling_chains(run: RunFiles) -> Table | None:
    """Tabulates steps, acceptance and displacement of chains that drew samples; None if none are recorded."""
    rows = []
    for pattern in ('samples/*/samples.json', 'evaluation/*.json'):
        for path, result in run.results_of(pattern).items():
            chains = result.get('chains')
            if isinstance(chains, dict) and isinstance(chains.get('mcmc_steps'), list):
                columns = [chains.get(name) for name in ('mcmc_steps', 'acceptance', 'displacement')]
                levels = shown_levels(len(chains['mcmc_steps']))
                source = f'{path}, {chains.get("corrector", "")}'
                rows += [[source, str(t), *(number(_value(each, t)) for each in columns)] for t in levels]
    header = ['samples', 'level', 'K', 'acceptance', 'displacement (rms)']
    return Table('Chains of samples, at the levels that sampling visits', header, rows) if rows else None


def long_run(run: RunFiles) -> Table | None:
    """Tabulates what `--mode=long_run` measured of its Markov chains, by level; None if it has not run."""
    found = [
        (path, level, numbers_of(one))
        for path, result in run.results_of('long_run/*/metrics.json').items()
        for level, one in _objects(result.get('levels'))
    ]
    if not found:
        return None
    names = list(dict.fromkeys(name for _, _, numbers in found for name in numbers))
    rows = [
        [f'{path.split("/")[1]}, level {level}', *(number(numbers.get(name)) for name in names)]
        for path, level, numbers in found
    ]
    return Table('Long-run chains', ['chains', *(name.replace('_', ' ') for name in names)], rows)


def _objects(value: Any) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yields (name, object) for each entry of a JSON object that is an object itself."""
    entries = value.items() if isinstance(value, dict) else ()
    return ((name, entry) for name, entry in entries if isinstance(entry, dict))


def rollbacks(run: RunFiles) -> Table | None:
    """Makes a table of the steps at which training diverged and was rolled back; None if it never was."""
    if not run.rollbacks:
        return None
    factor = run.config.training.rollback_factor
    rows = []
    for count, step in enumerate(run.rollbacks, 1):
        seen = numbers_of(run.results.get(f'diverged-{step}.json', {}))
        numbers = [number(seen.get(name)) for name in ('loss', 'gradient_norm')]
        rows.append([str(count), f'{step:,}', *numbers, f'{factor**count:g}'])
    header = ['rollback', 'diverged at step', 'loss', 'gradient norm', 'learning rates afterwards, times']
    return Table('Each rollback returned to the checkpoint before the step', header, rows)


def energy_charts(found: Measured) -> dict[str, Chart]:
    """Draws measured energies as histograms, {'energies_<t>': chart} for each noise level t, ascending."""
    return {
        f'energies_{t}': charts.histograms(
            f'level {t}, noise {noise:.3g}', {name: group[index] for name, group in found.groups.items()}
        )
        for index, (t, noise) in enumerate(zip(found.levels, found.noise, strict=True))
    }


def overlaps(found: Measured) -> Table:
    """Tabulates Kolmogorov-Smirnov distances of the energies of other images to those of training images."""
    chances = [measured.chance(found.train.shape[1], g.shape[1]) for g in (found.held_out, found.sampled)]
    rows = []
    for index, t in enumerate(found.levels):
        distances = [
            measured.distance(found.train[index], group[index]) for group in (found.held_out, found.sampled)
        ]
        judged = [
            f'{distance:.2f}, {"apart" if distance > chance else "no further than chance"}'
            for distance, chance in zip(distances, chances, strict=True)
        ]
        rows.append([str(t), f'{found.noise[index]:.3g}', *judged])
    caption = (
        'Kolmogorov-Smirnov distance from the energies of training images: 0 if alike, 1 if without overlap. '
        f'Chance alone exceeds {max(chances):.2f} in 5 % of all cases.'
    )
    return Table(caption, ['level', 'noise', 'held-out images', 'samples'], rows)


def options(run: RunFiles) -> dict[str, Table]:
    """Makes {title: table}: first the options that differ from the defaults, then a table for each group."""
    header = ['option', 'value', 'default', 'meaning']
    tables = {}
    changed = []
    for group in configuration.groups():
        values = getattr(run.config, group.name)
        rows = []
        for field in dataclasses.fields(values):
            mine, default = text(getattr(values, field.name)), text(field.default)
            rows.append([f'--{field.name}', mine, default, field.metadata['help']])
        changed += [row for row in rows if row[1] != row[2]]
        name = title(group.type)
        tables[name] = Table(name, header, rows)
    return {'Different from the defaults': Table('Options that differ', header, changed), **tables}
