"""The content of the page that compares runs: options that differ, curves, scores and energies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from drl_tf.config.option_fields import text
from drl_tf.report import charts, contents
from drl_tf.report.contents import Table

if TYPE_CHECKING:
    from drl_tf.report.run_files import RunFiles


def names(runs: Sequence[RunFiles]) -> list[str]:
    """Returns a name for each run: the last part of its path, or the whole path if runs share that part."""
    short = [run.name for run in runs]
    return [run.name if short.count(run.name) == 1 else run.workdir for run in runs]


def curves(runs: Mapping[str, RunFiles]) -> dict[str, Any]:
    """Makes a chart for each logged quantity, with a curve over the training steps for each run.

    Quantities that are logged for each noise level are averaged over the levels.

    Args:
      runs: {name: files of the run}.

    Returns:
      {name of the quantity: chart}; a chart is a JSON value, which JavaScript draws in the page.
    """
    found = {}
    logs = [run.log for run in runs.values()]
    quantities = dict.fromkeys(
        (name, by_level)
        for by_level in (False, True)
        for log in logs
        for name in contents.names_of(log, by_level)
    )
    for name, by_level in quantities:
        lines = {}
        for label, run in runs.items():
            if name in contents.names_of(run.log, by_level):
                steps, values = contents.column(run.log, name)
                if by_level:
                    values = [_mean(line.get(name)) for line in run.log]
                lines[label] = (steps, values)
            else:
                lines[f'{label} (not logged)'] = ((), ())
        title = contents.title_of(name) + (', mean over levels' if by_level else '')
        found[name] = charts.curves(title, 'step', lines)
    return found


def _mean(by_level: Any) -> float:
    """Returns the mean of the levels that have a number; NaN if none has."""
    values = [value for value in by_level or () if isinstance(value, (int, float))]
    return float(np.mean(values)) if values else float('nan')


def options(names: Sequence[str], runs: Sequence[RunFiles]) -> Table:
    """Returns a table with a column for each run and a row for each option in which the runs differ.

    Two rows come first: the last training step of each run, and its number of rollbacks (how often training
    diverged and went back to an earlier checkpoint).

    Args:
      names: name of each run.
      runs: files of each run.
    """
    values = [{field.name: text(value) for field, value in run.config.options()} for run in runs]
    rows = [
        [f'--{name}', *(each[name] for each in values)]
        for name in values[0]
        if len({each[name] for each in values}) > 1
    ]
    steps = ['last step', *(f'{run.step:,}' for run in runs)]
    rollbacks = ['rollbacks', *(str(len(run.rollbacks)) for run in runs)]
    return Table('Options that differ', ['option', *names], [steps, rollbacks, *rows])


def scores(names: Sequence[str], runs: Sequence[RunFiles]) -> Table | None:
    """Makes a table of the scores of samples, such as the Fréchet distance, of all runs.

    Args:
      names: name of each run.
      runs: files of each run.

    Returns:
      A table with these rows for each run: one for the last scores during training, and one for each result
      of --mode=evaluate. None if no run has scores.
    """
    tables = [(name, contents.scores(run)) for name, run in zip(names, runs, strict=True)]
    rows = [[f'{name}: {row[0]}', *row[1:]] for name, table in tables if table for row in table.rows]
    known = [table for _, table in tables if table]
    return Table(known[0].caption, known[0].header, rows) if known else None


def overlaps(names: Sequence[str], runs: Sequence[RunFiles]) -> Table | None:
    """Compares energies of test images and of samples with energies of training images, for each run.

    Args:
      names: name of each run.
      runs: files of each run.

    Returns:
      A table of Kolmogorov-Smirnov distances, 0 to 1, with a row for each run and noise level. Runs for which
      --mode=report has not measured energies are left out; None if there is no other run.
    """
    rows = [
        [f'{name}, step {run.measured.step:,}', *row]
        for name, run in zip(names, runs, strict=True)
        if run.measured
        for row in contents.overlaps(run.measured).rows
    ]
    header = ['run', 'level', 'noise', 'held-out images', 'samples']
    caption = 'Kolmogorov-Smirnov distance from the energies of training images: 0 if alike, 1 if apart'
    return Table(caption, header, rows) if rows else None
