"""Writes the page of a run, and a page that compares several runs."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jinja2

from drl_tf.base.errors import UserError
from drl_tf.base.files import written_aside
from drl_tf.report import charts, comparison, contents, inline_images, measuring, run_files

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.report.measured import Measured
    from drl_tf.report.run_files import RunFiles

PAGE = 'report.html'
COMPARISON = 'comparison.html'


def report(config: Config, workdir: str, compare: Sequence[str] = (), count: int = 0) -> dict[str, str]:
    """Measures the newest checkpoint of a run, and writes the page of the run (--mode=report).

    Args:
      config: the configuration to sample with.
      workdir: the run's directory; the page is `report.html` there.
      compare: directories of other runs, to compare with this run in `comparison.html`; (): no comparison.
      count: number of training images, of test images and of samples to measure; 0: 256 images, or 2,048
        points for a dataset of points of the plane.

    Returns:
      Paths of the pages written, {'report': path} and, with `compare`, {'comparison': path}.

    Raises:
      UserError: a directory holds no run, there is no undamaged checkpoint, or a page cannot be written.

    Example:
      report(config, 'runs/digits', compare=['runs/digits_t6'])
    """
    runs = [run_files.read(other) for other in compare]
    measuring.measure(config, workdir, count)
    run = run_files.read(workdir)
    places = {'report': _write(os.path.join(workdir, PAGE), _page_of(run))}
    if runs:
        path = os.path.join(workdir, COMPARISON)
        places['comparison'] = _write(path, _comparison_of([run, *runs]))
    return places


def write(workdir: str) -> str:
    """Writes the page of a run, `report.html`, from the run's files, without loading the model.

    The page shows the measurements of the last --mode=report, and the training step of the model measured.

    Args:
      workdir: the run's directory.

    Returns:
      The path of the page.

    Raises:
      UserError: the directory holds no run, or the page cannot be written.

    Example:
      write('runs/digits')  # 'runs/digits/report.html'
    """
    return _write(os.path.join(workdir, PAGE), _page_of(run_files.read(workdir)))


def _write(path: str, page: str) -> str:
    try:
        with written_aside(path) as file:
            file.write(page)
    except OSError as error:
        raise UserError(
            f'{path} could not be written ({error.strerror}): fix that, and run --mode=report'
        ) from error
    return path


def _page_of(run: RunFiles) -> str:
    """Returns the page of a run: the text of an HTML file that includes all its pictures and scripts."""
    problems = list(run.problems)
    grids = inline_images.of_grids(run.grids, problems)
    score = contents.score_chart(run)
    groups = {
        'curves': contents.curves(run, on_chains=False),
        'chains': contents.curves(run, on_chains=True),
        'scores': {'score': score} if score else {},
        'energies': contents.energy_charts(run.measured) if run.measured else {},
    }
    return _template('run.html').render(
        run=run,
        workdir=shlex.quote(run.workdir),
        problems=problems,
        grids=[{'step': step, 'image': uri} for step, uri in grids.items()],
        data_grid=inline_images.of_file(os.path.join(run.workdir, 'samples', 'data.png')),
        groups=groups,
        library=charts.library() if any(groups.values()) else '',
        last_numbers=contents.last_numbers(run),
        last_line=contents.last_line(run, on_chains=False),
        chains_line=contents.last_line(run, on_chains=True),
        tables={
            'scores': contents.scores(run),
            'likelihoods': contents.likelihoods(run),
            'sampling_chains': contents.sampling_chains(run),
            'long_run': contents.long_run(run),
            'rollbacks': contents.rollbacks(run),
            'overlaps': contents.overlaps(run.measured) if run.measured else None,
        },
        options=contents.options(run),
        player=_player(run.measured) if run.measured else None,
    )


def _comparison_of(runs: Sequence[RunFiles]) -> str:
    """Returns the page that compares runs: the text of an HTML file that includes all pictures."""
    names = comparison.names(runs)
    figures = comparison.curves(dict(zip(names, runs, strict=True)))
    problems: list[str] = []
    last = [inline_images.of_grids(dict(list(run.grids.items())[-1:]), problems) for run in runs]
    return _template('comparison.html').render(
        runs=list(zip(names, runs, last, strict=True)),
        problems=[*(f'{run.name}: {each}' for run in runs for each in run.problems), *problems],
        charts=figures,
        library=charts.library() if figures else '',
        options=comparison.options(names, runs),
        scores=comparison.scores(names, runs),
        overlaps=comparison.overlaps(names, runs),
    )


def _player(found: Measured) -> dict[str, Any]:
    """Returns the content of the player: names of S states, images as URIs [S][m], energies [S][m]."""
    names = ['denoised' if level < 0 else f'x_{level}' for level in found.state_levels]
    return {
        'names': names,
        'images': [[inline_images.of_array(image) for image in row] for row in found.states],
        'energies': [[f'{energy:,.1f}' for energy in row] for row in found.state_energies.tolist()],
    }


@functools.cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('drl_tf.report', 'page'),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)
