"""Runs the modes inpaint, restore, edit, interpolate and, with --expression, compose."""

from __future__ import annotations

import dataclasses

import numpy as np

from drl_tf.cli.command_options import Command, weights_of
from drl_tf.cli.options_by_mode import READ_BY
from drl_tf.config.config import Config
from drl_tf.distributed import chief
from drl_tf.editing import expressions
from drl_tf.runs import exported


def change(mode: str, command: Command, config: Config, workdir: str, step: int | None) -> dict[str, str]:
    """Runs a mode that edits or interpolates images.

    Args:
      mode: 'inpaint', 'restore', 'edit' or 'interpolate'.
      command: the options that say what to do.
      config: the configuration of the run.
      workdir: the directory of the run.
      step: training step of the checkpoint; None: the newest.

    Returns:
      Lines to print, {label: text}.
    """
    from drl_tf.editing import run

    names = [field.name for field in dataclasses.fields(run.EditRequest)]
    names = [name for name in names if mode in READ_BY.get(name, ())]
    read = {'inpaint': run.inpaint, 'restore': run.restore, 'edit': run.edit, 'interpolate': run.interpolate}
    request = run.EditRequest(step=step, **{name: getattr(command, name) for name in names})
    return read[mode](config, workdir, request)


def labels_and_weights(command: Command) -> tuple[tuple[int, ...], tuple[float, ...]] | None:
    """Returns the classes in the --expression of a command, and the weight of the energy of each.

    For '3 & !8', the result is ((3, 8), (1.0, -1.0)). Not every expression is such a weighted sum of energies
    of classes: with an "or" (|), a whole model (a) or a class of a second model (b3), the result is None.
    """
    found = expressions.weights(expressions.parse(command.expression))
    return None if found is None else (tuple(found), tuple(found.values()))


@chief.only
def judged(command: Command, config: Config, result: dict[str, str]) -> dict[str, str]:
    """Classifies images that were drawn from an --expression, and adds the shares of classes to the output.

    The classifier knows only digits. Nothing is added for images of other datasets, or images that are not
    square or not grey.

    Args:
      command: the options that say what to do.
      config: the configuration of the run.
      result: the lines to print about the drawn images, {label: text}; the last text is the path of the
        images.

    Returns:
      Lines to print, {label: text}: the shares of images by class, and the path of a JSON file with all
      shares, followed by the lines of `result`.
    """
    from drl_tf.editing import agreement
    from drl_tf.runs import samples

    *_, path = result.values()
    images = np.concatenate(list(samples.read(path, config.image_shape)))
    return {**agreement.judged(config.data, command.expression, images, f'{path}-classes.json'), **result}


def compose(command: Command, config: Config, workdir: str, step: int | None, count: int) -> dict[str, str]:
    """Draws images for --mode=compose from an --expression with an "or" (|) or over two models (a and b).

    Only the chief (the first worker) draws.

    Args:
      command: the options that say what to do.
      config: the configuration of the run.
      workdir: the directory of the run.
      step: training step of the checkpoint; None: the newest.
      count: number of images to draw.

    Returns:
      Lines to print, {label: text}: the paths of a picture and of the file with all images, and for digits
      the shares of classes that a classifier finds in them.
    """
    from drl_tf.editing import compose as composing

    second = exported.two_of(command.model)[1]
    request = composing.ComposeRequest(
        command.expression,
        count,
        weights_of(command),
        step,
        command.output_dir,
        exported.find(second) if second else '',
    )
    return chief.only(composing.compose)(config, workdir, request)
