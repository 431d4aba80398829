"""Checks whether an expression over two models can be drawn; needs no TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Sequence

from drl_tf.base.errors import UserError
from drl_tf.base.files import read_sound_json
from drl_tf.config import chains
from drl_tf.config.config import Config
from drl_tf.config.data_options import LOCAL_PATHS, Data
from drl_tf.editing import expressions
from drl_tf.runs import exported

_OF_THE_LEVELS = ('schedule', *chains.FREE_LEVELS, 'b2')


def check(text: str, config: Config, first: str, second: str) -> None:
    """Raises UserError if images cannot be drawn from an expression over two exported models.

    Both models must have been trained with --energy=preconditioned, for images of one shape, with the same
    noise levels. The expression must name both models, and only classes that they have. An expression with
    the operator | (or) also needs log Z of both models, which --mode=likelihood --method=direct measures.

    Args:
      text: the expression, such as 'a & b' or 'a3 & !b8'; a is the first model, b the second.
      config: configuration of the first model, with the options that the command line sets.
      first, second: the two models. Each is the name of a model that comes with the package, the version
        directory of an exported model, or the parent of version directories.
    """
    versions = [exported.find(name) for name in (first, second)]
    configs = (config, exported.load_config(versions[1]))
    check_pair(configs, (first, second))
    expression = expressions.parse(text)
    atoms = expressions.atoms(expression)
    if len({atom.model for atom in atoms}) < 2:
        raise UserError(
            f'--expression={text} names only one of the two models of --model={first},{second}: write both, '
            'such as a & b or a3 & b8, or give one model'
        )
    for atom in atoms:
        expressions.check_class(text, atom, configs[atom.model])
    if expressions.has_or(expression):
        for name, version in zip((first, second), versions, strict=True):
            if not known_log_z(version):
                raise UserError(
                    f'--expression={text}: | compares the heights of two log densities, and those of '
                    f'--model={name} were not measured: run --mode=likelihood --method=direct on its run, '
                    'then --mode=export; or use & and !'
                )


def second_config(version: str, config: Config) -> Config:
    """Returns the configuration of the second model, with what it takes from that of the first.

    These are the number of noise levels that sampling visits and, for models of the same dataset, the places
    of the data, which an exported model does not know.

    Args:
      version: the version directory of the second model.
      config: configuration of the first model, with the options that the command line sets.

    Raises:
      UserError: the exported model is damaged or incomplete.

    Examples:
      >>> digits = Config().replace(dataset='digits', data_dir='there')
      >>> second_config(exported.find('digits'), digits).data.data_dir
      'there'
    """
    second = exported.load_config(version)
    of_same_data = second.data.dataset == config.data.dataset
    taken = {name: getattr(config.data, name) for name in LOCAL_PATHS if of_same_data}
    return second.replace(sampling_levels=config.sampling.sampling_levels, **taken)


def data_of_classes(text: str, config: Config, second: str = '') -> list[Data]:
    """Returns the options of the data whose training images an expression needs, one for each model.

    The operator | (or) compares the heights of classes, which are measured on training images.

    Args:
      text: the expression.
      config: configuration of the only or the first model, with the options that the command line sets.
      second: the version directory of the second model; '': there is only one.

    Examples:
      >>> len(data_of_classes('3 | 8', Config())), data_of_classes('3 & 8', Config())
      (1, [])
    """
    expression = expressions.parse(text)
    if not expressions.has_or(expression):
        return []
    models = {atom.model for atom in expressions.atoms(expression) if atom.label >= 0}
    found = [config.data] if 0 in models else []
    return [*found, second_config(second, config).data] if 1 in models else found


def check_pair(configs: Sequence[Config], names: Sequence[str]) -> None:
    """Checks that the log densities of two models can be combined; raises UserError if not.

    Both models must have been trained with --energy=preconditioned, for images of one shape, with the same
    noise levels.

    Args:
      configs: configurations of the two models.
      names: names of the two models, for the message.
    """
    a, b = configs
    pair = f'--model={",".join(names)}'
    for config, name in zip(configs, names, strict=True):
        if config.network.energy != 'preconditioned':
            raise UserError(
                f'{pair}: --energy={config.network.energy} of {name} leaves a constant open at each noise '
                'level and has no energy at the top level, so it gives no log densities to combine: use '
                'models of --energy=preconditioned'
            )
    if a.image_shape != b.image_shape:
        shapes = ' and '.join(' x '.join(map(str, config.image_shape)) for config in configs)
        raise UserError(f'{pair}: images of {shapes} numbers; two models must have one image shape')
    for name in _OF_THE_LEVELS:
        values = [getattr(config.diffusion, name) for config in configs]
        if values[0] != values[1]:
            raise UserError(
                f'{pair}: --{name} is {values[0]} and {values[1]}; two models must have the same noise levels'
            )


def known_log_z(version: str) -> list[float]:
    """Returns log Z of an exported model at each of its T + 1 noise levels, in nats; [] if it is unknown.

    Args:
      version: the version directory of the exported model.
    """
    heights = read_sound_json(os.path.join(version, exported.DESCRIPTION)).get('heights')
    return heights['log_z'] if heights else []
