"""Scores a trained model for several values of sampling options: chain steps, guidance, or chains."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from drl_tf.base.errors import UserError
from drl_tf.base.files import written_aside
from drl_tf.config import chains, combinations
from drl_tf.config import config as configuration
from drl_tf.config.option_fields import text
from drl_tf.core.correctors import ADJUSTED
from drl_tf.distributed import chief, devices
from drl_tf.evaluation.evaluator import Evaluator
from drl_tf.planning import flops
from drl_tf.runs import chain_report, charts, checkpoint, drawing, pictures, samples
from drl_tf.runs.naming import file_stem

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.runs.request import SampleRequest
GUIDANCE = (0.0, 0.5, 1.0, 2.0, 3.0)
EVALUATIONS = (18, 30, 48, 90, 180)
_GRID_IMAGES = 100


@dataclasses.dataclass(frozen=True)
class Swept:
    """Which sampling options an experiment varies, and how to show the scores.

    Attributes:
      mode: 'steps', 'guidance' or 'chains'; names the directory `sweep_<mode>` of the results.
      name: title of the column with the values in the table.
      axis: label of the x axis of the plot.
      variants: {value: {option: value of the option}}. Each key is a value in the column `name`, for one row
        of the table; its entry holds the options to change for this row.
      panels: callable that maps Fréchet distances, in the order of `variants`, to the panels of the plot,
        {title: {label of a curve: {x: distance}}}. None: the plot has one curve.
    """

    mode: str
    name: str
    axis: str
    variants: Mapping[Any, dict[str, Any]]
    panels: Callable[[Sequence[float]], charts.Panels] | None = None


@dataclasses.dataclass(frozen=True)
class Scored:
    """Samples that were drawn and scored.

    Attributes:
      request: what was drawn, a `SampleRequest`. Its attribute `step` is the step of the checkpoint.
      directory: directory of the samples.
      gradients: number of gradients of energies per sample, as `flops.gradients` counts them.
      scores: the scores, such as the Fréchet distance, {name: value}; None on workers other than the first.
    """

    request: SampleRequest
    directory: str
    gradients: int
    scores: dict[str, Any]


def sweep_steps(config: Config, workdir: str, request: SampleRequest) -> dict[str, str]:
    """Scores samples for several numbers of Langevin steps, or of noise levels for models without chains.

    With chains, the function `steps_of_level` chooses the numbers, so that an image needs about 18, 30, 48,
    90 and 180 gradients of the energy. Without chains, these are the numbers of noise levels, as far as the
    model has so many; the number of all its levels is tried too.

    If chains make K steps at each noise level in place of the K_0 steps of training, the step size is
    multiplied by sqrt(K_0 / K), so that the total time of a chain stays the same. Step sizes relative to the
    curvature of the log density stay as they are: those of MALA and HMC, and those set by `corrector_step`.

    Args:
      config: the configuration.
      workdir: the run's directory.
      request: what to draw for each number.

    Returns:
      {label: path} of a table (CSV), a plot (PNG), and the directory with pictures of samples.

    Raises:
      UserError: the feature extractor does not fit the images, there is no undamaged checkpoint, or a model
        without chains has no more than 18 noise levels.
    """
    config = config.replace(sampling_steps=(), langevin_rule='plain')
    walk = flops.walk(config)
    levels = walk.num_levels
    steps = configuration.load(workdir).steps_by_level
    trained = sum(steps[level] for level in walk.levels)
    variants: dict[float, dict[str, Any]]
    if trained:
        variants = {
            levels * K: dict(mcmc_steps=(K,), **_same_time(config, trained / (levels * K)))
            for K in steps_of_level(levels)
        }
        axis = 'Langevin gradients per image'
    else:
        counts = sorted({count for count in (*EVALUATIONS, levels) if count <= levels})
        if len(counts) < 2:
            raise UserError(
                f'--mode=sweep_steps: this model makes no chains and has {levels} noise levels, no more than '
                f'{EVALUATIONS[0]}, so there is nothing to compare: --mode=sweep_chains tries other numbers'
            )
        variants = {count: dict(sampling_levels=count) for count in counts}
        axis = 'gradients per image'
    swept = Swept('steps', 'evaluations', axis, variants)
    return score_variants(config, workdir, swept, request)


def steps_of_level(levels: int) -> list[int]:
    """Returns the numbers K that --mode=sweep_steps tries: K Langevin steps at each noise level.

    An image needs K gradients per level. The numbers are chosen so that an image needs about 18, 30, 48, 90
    and 180 gradients. Each K is at least one more than the one before, so many levels need more gradients.

    Args:
      levels: the number of noise levels.

    Returns:
      Five numbers K, ascending, at least 1.
    """
    steps = [0]
    for evaluations in EVALUATIONS:
        steps.append(max(round(evaluations / levels), steps[-1] + 1))
    return steps[1:]


def _same_time(config: Config, ratio: float) -> dict[str, float]:
    """Returns {'step_scale': value} that keeps the total time of a chain if the number of steps K changes.

    Returns {} for chains whose step size is given by q in units of the curvature.

    Args:
      config: the configuration.
      ratio: K of the training divided by K.
    """
    return {} if chains.has_units(config) else {'step_scale': math.sqrt(ratio)}


def sweep_guidance(config: Config, workdir: str, request: SampleRequest) -> dict[str, str]:
    """Scores samples of a class-conditional model with guidance weights 0, 0.5, 1, 2 and 3.

    Args:
      config: the configuration.
      workdir: the run's directory.
      request: what to draw for each weight.

    Returns:
      {label: path} of a table (CSV), a plot (PNG), and the directory with pictures of samples.

    Raises:
      UserError: the model has no classes, the feature extractor does not fit the images, or there is no
        undamaged checkpoint.
    """
    combinations.check_guidance(config)
    variants: dict[float, dict[str, Any]] = {w: dict(guidance=w) for w in GUIDANCE}
    swept = Swept('guidance', 'guidance', 'guidance w', variants)
    return score_variants(config, workdir, swept, request)


def score_variants(config: Config, workdir: str, swept: Swept, request: SampleRequest) -> dict[str, str]:
    """Scores samples for each value of a varied option; writes pictures of samples, a table and a plot.

    Args:
      config: the configuration.
      workdir: the run's directory.
      swept: the values, and how to show the results.
      request: what to draw for each value.

    Returns:
      {label: path} of a table (CSV), a plot (PNG), and the directory with pictures of samples.
    """
    directory = os.path.join(workdir, f'sweep_{swept.mode}')
    parts = os.path.join(directory, 'parts')
    evaluator = Evaluator(config, parts, workdir=workdir)
    rows: list[dict[str, Any]] = []

    @chief.only
    def show(drawn: str, value: float, changes: dict[str, Any], found: dict[str, Any]) -> None:
        save_grid(drawn, config)
        options: dict[str, Any] = {option: text(chosen) for option, chosen in changes.items()}
        chains = chain_report.read(drawn).get('chains', {})
        if 'acceptance' in chains:
            options['acceptance'] = sum(chains['acceptance']) / len(chains['acceptance'])
        shown = (evaluator.name, f'{evaluator.name}_held_out_size', 'floor', 'class_agreement')
        rows.append({swept.name: value, **options, **{key: found[key] for key in shown if key in found}})

    for value, changes in swept.variants.items():

        def place(mine: SampleRequest, name: str = str(value)) -> str:
            return os.path.join(directory, file_stem(config, workdir, mine), name)

        found = scored(config.with_flags(**changes), workdir, request, evaluator, place)
        root = os.path.dirname(found.directory)
        show(found.directory, value, changes, found.scores)
    shutil.rmtree(parts, ignore_errors=True)
    return _written(root, rows, evaluator, swept)


def scored(
    config: Config,
    workdir: str,
    request: SampleRequest,
    evaluator: Evaluator,
    place: Callable[[SampleRequest], str],
) -> Scored:
    """Draws samples with a configuration, or finds them on disk, and scores them.

    MALA and HMC compute in float32, because they compare log densities.

    Args:
      config: the configuration to sample with.
      workdir: the run's directory.
      request: what to draw; the guidance is that of `config`, not of `request`.
      evaluator: compares the samples with real images.
      place: callable that maps the request, with the step of the checkpoint and the guidance filled in, to
        the directory of the samples. Samples already in this directory are not drawn again.

    Returns:
      A `Scored`: the scores, the directory of the samples, and the number of gradients per sample.

    Raises:
      UserError: there is no undamaged checkpoint, or the samples are not finite.
    """
    if config.corrector in ADJUSTED:
        config = config.replace(precision='float32')
    with devices.strategy().scope():
        model, step = checkpoint.load_model(workdir, config, request.step)
    mine = dataclasses.replace(request, step=step, guidance=model.config.sampling.guidance)
    drawn = place(mine)
    drawing.draw(model, drawn, mine)
    scores = evaluator.score(samples.read(drawn, config.image_shape), mine)
    return Scored(mine, drawn, flops.gradients(config), scores)


def save_grid(drawn: str, config: Config) -> None:
    """Draws the first 100 samples in a directory as a grid, into the PNG file `<drawn>.png`.

    Args:
      drawn: directory of the samples.
      config: the configuration of the model.
    """
    images = samples.first_images(drawn, config.image_shape, _GRID_IMAGES)
    captions = pictures.turn_captions(len(images), config.data.num_classes)
    pictures.save_png(f'{drawn}.png', pictures.grid(images, config.data.num_classes), **captions)


def write_table(path: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows, {column: value}, to a CSV file.

    Args:
      path: the file.
      rows: the rows; the columns are the keys of all rows, in the order in which they first occur.
    """
    with written_aside(path) as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(itertools.chain(*rows))))
        writer.writeheader()
        writer.writerows(rows)


@chief.only
def _written(
    root: str, rows: Sequence[Mapping[str, Any]], evaluator: Evaluator, swept: Swept
) -> dict[str, str]:
    """Writes the table and the plot; returns {label: path}."""
    table = os.path.join(root, 'scores.csv')
    plot = os.path.join(root, 'scores.png')
    write_table(table, rows)
    distances = [row.get(f'{evaluator.name}_held_out_size', row[evaluator.name]) for row in rows]
    label = f'Fréchet distance ({evaluator.extractor.name})'
    floor = rows[0].get('floor')
    if swept.panels:
        panels = swept.panels(distances)
        charts.save_panels(plot, swept.axis, label, panels, floor)
    else:
        curves = {label: distances, **({} if floor is None else {'floor': [floor] * len(rows)})}
        charts.save_curves(plot, swept.axis, [row[swept.name] for row in rows], curves)
    return {f'scores by {swept.name}': table, 'plot': plot, 'grids': root}
