"""Quality of a trained model against one sampling option: the number of network evaluations, or guidance."""

import csv
import dataclasses
import functools
import math
import os
import shutil

from drl_tf.base.files import written_aside
from drl_tf.config import combinations
from drl_tf.config import config as configuration
from drl_tf.config.option_fields import text
from drl_tf.distributed import devices, workers
from drl_tf.evaluation.evaluator import Evaluator
from drl_tf.runs import checkpoint, drawing, pictures, samples
from drl_tf.runs.naming import file_stem

GUIDANCE = (0.0, 0.5, 1.0, 2.0, 3.0)
EVALUATIONS = (18, 30, 48, 90, 180)
_GRID_IMAGES = 100


@dataclasses.dataclass(frozen=True)
class _Swept:
    """What is swept.

    Attributes:
      mode: 'steps' or 'guidance'.
      name: of the column of its values.
      axis: of the plot.
      variants: {value: the options of the configuration that it changes}.
    """

    mode: str
    name: str
    axis: str
    variants: dict


def sweep_steps(config, workdir, request):
    """Scores samples made with fewer or more Langevin steps, K = evaluations / T, the total time kept by q^2
    = (mean K_train) / K.

    With many levels T, the rows are at K = 1, 2, .. instead. Where K is 0, with fewer levels.

    Args:
      config: a `Config`; the K of training is that of the run.
      workdir: the directory of the run.
      request: a `SampleRequest`: what to draw for each K.

    Returns:
      Where things are, as {label: text}, to the chief; None to other workers.

    Raises:
      UserError: the extractor does not apply, or there is no sound checkpoint.
    """
    levels = config.diffusion.num_levels
    trained = sum(configuration.load(workdir).steps_by_level)
    if trained:
        variants = {
            levels * K: dict(mcmc_steps=(K,), step_scale=math.sqrt(trained / (levels * K)))
            for K in steps_of_level(levels)
        }
        axis = 'Langevin gradients per image'
    else:
        counts = [count for count in (*EVALUATIONS, levels) if count <= levels]
        variants = {count: dict(sampling_levels=count) for count in counts}
        axis = 'gradients per image'
    swept = _Swept('steps', 'evaluations', axis, variants)
    return _sweep(config, workdir, swept, request)


def steps_of_level(levels):
    """K of each row, ascending: about evaluations / T, at least 1, and more than in the row before."""
    steps = [0]
    for evaluations in EVALUATIONS:
        steps.append(max(round(evaluations / levels), steps[-1] + 1))
    return steps[1:]


def sweep_guidance(config, workdir, request):
    """Scores samples of a class-conditional model at w = 0, 0.5, 1, 2, 3; takes, returns and raises what
    `sweep_steps` does."""
    combinations.check_guidance(config)
    variants = {w: dict(guidance=w) for w in GUIDANCE}
    swept = _Swept('guidance', 'guidance', 'guidance w', variants)
    return _sweep(config, workdir, swept, request)


def _sweep(config, workdir, swept, request):
    """Scores every variant of the configuration; writes a grid for each, a CSV and a plot.

    Given enough samples, the plot shows the scores of parts as large as the held-out split, which compare
    with the floor.
    """
    directory = os.path.join(workdir, f'sweep_{swept.mode}')
    parts = os.path.join(directory, 'parts')
    evaluator = Evaluator(config, parts, workdir=workdir)
    rows = []

    def show(drawn, value, changes, found):
        images = samples.first_images(drawn, config.image_shape, _GRID_IMAGES)
        captions = pictures.turn_captions(len(images), config.data.num_classes)
        pictures.save_png(f'{drawn}.png', pictures.grid(images, config.data.num_classes), **captions)
        options = {option: text(chosen) for option, chosen in changes.items()}
        shown = (evaluator.name, f'{evaluator.name}_held_out_size', 'floor', 'class_agreement')
        rows.append({swept.name: value, **options, **{key: found[key] for key in shown if key in found}})

    for value, changes in swept.variants.items():
        with devices.strategy().scope():
            model, step = checkpoint.load_model(workdir, config.replace(**changes), request.step)
        mine = dataclasses.replace(request, step=step, guidance=model.config.sampling.guidance)
        root = os.path.join(directory, file_stem(config, workdir, mine))
        drawn = os.path.join(root, f'{value}')
        drawing.draw(model, drawn, mine)
        found = evaluator.score(samples.read(drawn, config.image_shape), mine.count, labelled=True)
        workers.by_chief(functools.partial(show, drawn, value, changes, found))
    shutil.rmtree(parts, ignore_errors=True)
    return workers.by_chief(lambda: _written(root, rows, evaluator, swept))


def _written(root, rows, evaluator, swept):
    """Writes the table and the plot; returns where they are."""
    path = os.path.join(root, 'scores.csv')
    with written_aside(path) as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    distances = [row.get(f'{evaluator.name}_held_out_size', row[evaluator.name]) for row in rows]
    floor = {'floor': [row['floor'] for row in rows]} if 'floor' in rows[0] else {}
    curves = {f'Fréchet distance ({evaluator.extractor.name})': distances, **floor}
    pictures.save_curves(
        os.path.join(root, 'scores.png'), swept.axis, [row[swept.name] for row in rows], curves
    )
    return {f'scores by {swept.name}': path, 'plot': os.path.join(root, 'scores.png'), 'grids': root}
