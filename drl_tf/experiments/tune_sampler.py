"""Searches for samplers that need fewer gradients for the same distance, and stores the best with the run."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import logging

from drl_tf.base.errors import NotFinite
from drl_tf.base.files import put_aside, read_sound_json, write_json
from drl_tf.config import tuned
from drl_tf.config.option_fields import text
from drl_tf.distributed import chief, devices
from drl_tf.evaluation.evaluate import against
from drl_tf.evaluation.evaluator import Evaluator
from drl_tf.experiments import pareto, sampler_settings, sweep
from drl_tf.planning import flops
from drl_tf.runs import chain_report, charts, checkpoint
from drl_tf.runs.naming import file_stem

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.experiments.sampler_settings import Setting
    from drl_tf.runs.request import SampleRequest

_RESULTS = 'settings.json'


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much a search for a sampler may cost. A setting is one choice of the sampler's options.

    Attributes:
      minutes: time limit of the command; 0: no limit. Each command measures at least one setting.
      settings: largest number of settings to measure, including those of earlier commands; 0: no limit.
      gradients: largest number of gradients per image of a setting; 0: no limit. The run's own sampler is
        measured even if it needs more.
    """

    minutes: float = 0.0
    settings: int = 0
    gradients: int = 0


def tune_sampler(config: Config, workdir: str, request: SampleRequest, budget: Budget) -> dict[str, str]:
    """Searches for a sampler of a trained model that needs few gradients, and stores the best with the run.

    The search trades the number of gradients per image against the Fréchet distance. It measures samplers
    similar to the best trade-offs found so far (Pareto local search). A later call continues the search. The
    stored sampler is used with --sampler=tuned.

    Args:
      config: the configuration of the run; its sampler is the first to be measured.
      workdir: the run's directory.
      request: the images to draw with each sampler that is measured, such as their number and seed.
      budget: how much the search may cost.

    Returns:
      Lines to print, {label: text}: the files written, and the best sampler.

    Raises:
      UserError: there is no undamaged checkpoint, the feature extractor does not fit the images, or the
        samples of the run's own sampler are not finite.
    """
    with devices.strategy().scope():
        _, step = checkpoint.load_model(workdir, config, request.step)
    request = dataclasses.replace(request, step=step)
    root = os.path.join(workdir, 'tune_sampler', file_stem(config, workdir, request))
    parts = os.path.join(root, 'parts')
    with chief.held(root):
        evaluator = Evaluator(config, parts, workdir=workdir)

        def source() -> dict[str, Any]:
            return {
                'source': checkpoint.fingerprint(workdir, step),
                'real': against(evaluator),
                'precision': config.training.precision,
                'own': tuned.options_of(config),
            }

        search = chief.Proxy(lambda: _Search(config, root, source(), budget))
        while setting := search.following():
            index = search.count()
            mine = config.replace(**tuned.with_tuples(setting))
            row = {'setting': index, 'options': setting}
            row |= _measured(mine, workdir, request, evaluator, os.path.join(root, f'{index:03d}'))
            search.add(row)
        shutil.rmtree(parts, ignore_errors=True)
        return search.finish(workdir, request)


def _measured(
    config: Config, workdir: str, request: SampleRequest, evaluator: Evaluator, drawn: str
) -> dict[str, Any]:
    """Draws and scores the samples of a setting, and keeps a grid of them; returns entries of its row."""
    try:
        found = sweep.scored(config, workdir, request, evaluator, lambda _: drawn)
    except NotFinite:
        shutil.rmtree(drawn, ignore_errors=True)
        return {'gradients': flops.gradients(config), 'distance': None}

    @chief.only
    def keep() -> dict[str, Any]:
        sweep.save_grid(drawn, config)
        report = chain_report.read(drawn).get('chains', {})
        shutil.rmtree(drawn)
        row = {'gradients': found.gradients, 'distance': found.scores[evaluator.name]}
        if 'class_agreement' in found.scores:
            row['agreement'] = found.scores['class_agreement']
        return row | {name: report[name] for name in ('acceptance', 'displacement') if name in report}

    return keep()


class _Search:
    """The settings that were measured, and which comes next. Only the chief holds this object.

    Args:
      config: the configuration of the run.
      root: directory of the results.
      source: what the results depend on beside the name of `root`; results of another source are put aside.
      budget: how much the search may cost.
    """

    def __init__(self, config: Config, root: str, source: dict[str, Any], budget: Budget) -> None:
        self.config = config
        self.root = root
        self.source = source
        self.budget = budget
        self.rows: list[dict[str, Any]] = []
        self._until = time.monotonic() + 60 * budget.minutes if budget.minutes else float('inf')
        self._measured_here = 0
        stored = read_sound_json(os.path.join(root, _RESULTS))
        if sampler_settings.key(stored.get('measured_with', {})) == sampler_settings.key(source):
            self.rows = stored['rows']
        elif stored:
            logging.warning('%s held results of other weights or images: now in %s', root, put_aside(root))

    def count(self) -> int:
        """Returns how many settings are measured."""
        return len(self.rows)

    def following(self) -> Setting | None:
        """Returns the setting to measure next; None if the budget is spent or the search is at its end."""
        limit = self.budget.settings
        if (limit and len(self.rows) >= limit) or (self._measured_here and time.monotonic() > self._until):
            return None
        start = sampler_settings.start(self.config)
        start = [start[0], *filter(self._is_cheap, start[1:])]
        wanted = pareto.best(self.rows, self.budget.gradients) if self.rows else None
        return pareto.following(self.rows, start, self._neighbours, sampler_settings.key, wanted)

    def _neighbours(self, row: pareto.Row) -> list[Setting]:
        """Returns the neighbours of a row that are not too expensive; see `sampler_settings.neighbours`."""
        setting = tuned.with_tuples(row['options'])
        moved = None
        if 'displacement' in row:
            walk = flops.walk(self.config.replace(**setting))
            moved = [far / std for far, std in zip(row['displacement'], walk.m * walk.S[:-1], strict=True)]
        return list(filter(self._is_cheap, sampler_settings.neighbours(self.config, setting, moved)))

    def _is_cheap(self, setting: Setting) -> bool:
        limit = self.budget.gradients
        return not limit or flops.gradients(self.config.replace(**setting)) <= limit

    def add(self, row: dict[str, Any]) -> None:
        """Adds a row, writes all rows to disk, and prints the new one."""
        if not self.rows and row['distance'] is None:
            raise NotFinite("the samples of the run's own sampler are not finite: use another checkpoint")
        self.rows.append(row)
        self._measured_here += 1
        write_json(os.path.join(self.root, _RESULTS), {'measured_with': self.source, 'rows': self.rows})
        print(f'setting {row["setting"]}: {_said(row)}: {tuned.said(self._changes(row))}', flush=True)

    def _changes(self, row: pareto.Row) -> Setting:
        """Returns the options of a row that differ from the run's own sampler."""
        own = tuned.with_tuples(self.source['own'])
        return {
            name: value for name, value in tuned.with_tuples(row['options']).items() if value != own[name]
        }

    def finish(self, workdir: str, request: SampleRequest) -> dict[str, str]:
        """Writes table, front and plot, and the best sampler into the workdir; returns {label: text}."""
        table, plot = (os.path.join(self.root, name) for name in ('settings.csv', 'pareto.png'))
        front = pareto.front(self.rows)
        best = pareto.best(self.rows, self.budget.gradients)
        sweep.write_table(table, [_cells(row, row in front, row is best) for row in self.rows])
        _plot(plot, self.rows, front, best)
        own = self.rows[0]
        scores = ('gradients', 'distance', 'agreement')
        measured = {name: best[name] for name in scores if name in best}
        compared = {f'own_{name}': own[name] for name in scores if name in own}
        drawn = {'step': request.step, 'weights': request.weights, 'num_samples': request.count}
        options = tuned.with_tuples(best['options'])
        path = tuned.save(workdir, options, {**measured, **compared, **drawn}, self.source['source'])
        return {
            'settings': table,
            'Pareto front': plot,
            "run's own sampler": _said(own),
            'best': f'{_said(best)}: {tuned.said(self._changes(best)) or "its options"}',
            'for sampler=tuned': path,
        }


def _said(row: pareto.Row) -> str:
    """Formats the scores of a row."""
    if row['distance'] is None:
        return f'{row["gradients"]} gradients, the samples are not finite'
    agreement = f', agreement {row["agreement"]:.1%}' if 'agreement' in row else ''
    return f'{row["gradients"]} gradients, distance {row["distance"]:.3g}{agreement}'


def _cells(row: pareto.Row, on_front: bool, is_best: bool) -> dict[str, Any]:
    """Returns a line of the table, {column: value}."""
    options = {name: text(value) for name, value in tuned.with_tuples(row['options']).items()}
    scores = {name: row.get(name, '') for name in ('gradients', 'distance', 'agreement')}
    return {'setting': row['setting'], **scores, 'front': int(on_front), 'best': int(is_best), **options}


def _plot(path: str, rows: list[dict[str, Any]], front: list[pareto.Row], best: pareto.Row) -> None:
    """Plots distance, and agreement if it is known, over gradients."""
    shown: dict[str, Sequence[pareto.Row]] = {
        'measured': [row for row in rows if row['distance'] is not None],
        'Pareto front': front,
        "run's own sampler": rows[:1],
        'best': [best],
    }
    panels = {
        measure: {
            label: [(row['gradients'], row[name]) for row in some if name in row]
            for label, some in shown.items()
        }
        for name, measure in (('distance', 'Fréchet distance'), ('agreement', 'class agreement'))
        if name in rows[0]
    }
    charts.save_points(path, 'gradients per image', panels, joined=('Pareto front',))
