"""Checks options of the modes inpaint, restore, edit, interpolate and compose, without TensorFlow."""

from __future__ import annotations

import os
from typing import Any

from drl_tf.base.errors import UserError
from drl_tf.cli.command_options import EDITED, METHODS, Command
from drl_tf.cli.options_by_mode import READ_BY
from drl_tf.config import combinations
from drl_tf.config.config import Config
from drl_tf.config.data_options import LOCAL_PATHS, Data
from drl_tf.config.option_fields import text
from drl_tf.editing import degradations, expressions, inputs, masks, pairs, plans
from drl_tf.runs import exported


def check_command(command: Command, given: dict[str, Any]) -> None:
    """Checks the options of inpaint, restore, edit, interpolate and compose; reads no model.

    Args:
      command: the options that say what to do.
      given: {name: value} of the options on the command line.

    Raises:
      UserError: an option has a wrong value, or two options contradict each other.
    """
    if command.method:
        for mode in set(command.mode) & set(METHODS):
            if command.method not in METHODS[mode]:
                raise UserError(
                    f'--method={command.method} is not for --mode={mode}: give {" or ".join(METHODS[mode])}'
                )
    if len(command.between) != 2:
        raise UserError(f'--between={text(command.between)} must be the indices of two samples, such as 0,1')
    if 'interpolate' in command.mode and len(command.labels) > 2:
        raise UserError(f'--labels={text(command.labels)}: --mode=interpolate takes one class, or two')
    if 'guidance' in given and set(command.mode) <= set(EDITED) and not command.labels:
        raise UserError(f'--guidance={given["guidance"]} needs --labels, the classes of the images')
    if command.degraded and command.input == inputs.TEST:
        raise UserError('--degraded is for images of your own: give --input=PATH, or drop it')
    second = exported.two_of(command.model)[1]
    if ',' in second and not os.path.exists(second):
        raise UserError(f'--model={command.model} must name one model, or two')
    if second and not (set(command.mode) == {'compose'} and command.expression):
        raise UserError(
            f'--model={command.model}: two models are for --mode=compose with --expression alone; give one'
        )
    if command.expression:
        _check_expression(command, given)
    _check_places(command, given)


def _check_expression(command: Command, given: dict[str, Any]) -> None:
    mixes = expressions.weights(expressions.parse(command.expression)) is None
    for name in ('labels', 'label_weights'):
        if name in given:
            raise UserError(f'--expression={command.expression} says the classes: drop --{name}')
    for name in ('first_sample', 'save_images'):
        if name in given and mixes and set(command.mode) == {'compose'}:
            raise UserError(f'--{name} is not for mixtures (--expression={command.expression}): drop it')


def _check_places(command: Command, given: dict[str, Any]) -> None:
    """Raises UserError if places of data are given for --mode=compose alone, which reads no images then."""
    if command.expression and expressions.compares_classes(expressions.parse(command.expression)):
        return
    for name in LOCAL_PATHS:
        if name in given and set(command.mode) & set(READ_BY[name]) == {'compose'}:
            raise UserError(
                f'--{name}={given[name]} is for an --expression of classes with | (or), which reads training '
                'images: drop it'
            )


def check_configuration(command: Command, config: Config) -> None:
    """Checks that the modes inpaint, restore, edit, interpolate and compose can work with a model.

    Args:
      command: the options that say what to do. Its other modes, such as sample, are not checked.
      config: the configuration of the model.

    Raises:
      UserError: an option does not fit the model's energies, classes or images, or an input is missing.
    """
    modes = set(command.mode)
    if 'inpaint' in modes:
        plans.check(config, command.method, '', command.edit_levels, command.edit_steps)
        masks.check(command.mask, *config.image_shape[:2])
    if 'restore' in modes:
        degradation = degradations.parse(command.degradation, config.image_shape)
        plans.check(config, command.method, degradation.kind, command.edit_levels, command.edit_steps)
    if features(command, config):
        combinations.check_extractor(config.data, config.evaluation.extractor, config.evaluation.inception)
    if modes & {'edit', 'interpolate'} and config.planar:
        raise UserError(f'--dataset={config.data.dataset} has points, and images are edited')
    if 'edit' in modes:
        plans.level_of(command.strength, config.diffusion.num_levels)
    if modes & set(EDITED):
        inputs.check(command.input, command.resize)
    if modes & {*EDITED, 'interpolate'}:
        combinations.check_classes(config, command.labels)
    if 'compose' in modes and command.expression:
        first, second = exported.two_of(command.model)
        if second:
            pairs.check(command.expression, config, first, second)
        else:
            expressions.check(command.expression, config)


def features(command: Command, config: Config) -> bool:
    """Returns whether the modes have inpaint or restore, and `extractor` or `inception` names a network.

    Then these modes compare repaired images with the originals by the features that this network computes, so
    the network must be there.

    Args:
      command: the options that say what to do.
      config: the configuration, with the options `extractor` and `inception`.
    """
    named = config.evaluation.extractor or config.evaluation.inception
    return bool(named and {'inpaint', 'restore'} & set(command.mode))


def data_of_classes(command: Command, config: Config) -> list[Data]:
    """Returns the options of the data whose training images --mode=compose reads; [] if it reads none.

    Args:
      command: the options that say what to do.
      config: the configuration of the only model or of model a.
    """
    if 'compose' not in command.mode or not command.expression:
        return []
    second = exported.two_of(command.model)[1]
    return pairs.data_of_classes(command.expression, config, exported.find(second) if second else '')
