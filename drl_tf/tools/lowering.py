"""Translates the training step and the sampler of a model to StableHLO, the input of XLA's compilers."""

import re
from collections.abc import Sequence
from typing import Any

from drl_tf.config.config import Config
from drl_tf.core.weights import Weights

_LOCATIONS = re.compile(r'^#loc.*\n| loc\([^()]*\)', re.MULTILINE)
_NAMES = re.compile(r'@(?!main\b)[\w.$-]+')
_ALIAS = re.compile(r'parameter_number = (\d+) : i64}, output_index = array<i64: (\d+)>')


def lowered(config: Config, program: str) -> str:
    """Translates the training step or the sampler of a configuration to StableHLO, for one device.

    Args:
      config: the configuration; its model gets random weights.
      program: 'train' (a training step on the whole batch) or 'sample' (a batch of images from noise).

    Returns:
      The text of a StableHLO module. Repeated calls return the same text.
    """
    return text_of(*traced(new_model(config, program), program))


def new_model(config: Config, program: str) -> Any:
    """Builds the model of a configuration with random weights, for `traced`.

    Args:
      config: the configuration.
      program: what the model is for: 'train' (it gets optimizers) or 'sample' (it gets none).
    """
    from drl_tf.core.build_model import build_model
    from drl_tf.training.optimizers import compiled_model

    return compiled_model(config) if program == 'train' else build_model(config)


def traced(model: Any, program: str) -> tuple[Any, list[Any]]:
    """Returns the training step or the sampler of a model as a `tf.function` that XLA compiles.

    Args:
      model: the model, from `new_model`.
      program: 'train' (a training step on the whole batch) or 'sample' (a batch of images from noise).

    Returns:
      Pair of the `tf.function` and a list of example inputs. For 'train', the list holds a batch of images,
      or a pair (images, labels) if the model has classes. For 'sample', it holds a seed, int32 [2], and then
      labels if the model has classes.
    """
    import tensorflow as tf

    from drl_tf.core.guidance import network_labels

    config = model.config
    num_classes = config.data.num_classes
    training = program == 'train'
    count = config.training.batch_size if training else config.sampling.sample_batch_size
    labels = network_labels(tf.range(count, dtype=tf.int32) % max(1, num_classes))
    if training:
        images = tf.zeros([count, *config.image_shape])
        function = model.train_step
        inputs = [(images, labels) if num_classes else images]
    else:
        function = _sampler(model)
        inputs = [tf.constant([0, 3]), *([labels] if num_classes else [])]
    return tf.function(function, jit_compile=True, autograph=False), inputs


def _sampler(model: Any) -> Any:
    """Returns a function, seed int32 [2] -> n images; if the model has classes, also of labels, int32 [n]."""
    from drl_tf.core import noise
    from drl_tf.core.guidance import UNCONDITIONAL, guided
    from drl_tf.core.sampling import Draw

    config = model.config
    count = config.sampling.sample_batch_size

    def sample(seed: Any, *labels: Any) -> Any:
        terms = guided(labels[0], config.sampling.guidance) if labels else UNCONDITIONAL
        x = model.prior(count, noise.fold(seed, noise.PRIOR), 0)
        x, _ = model.walk_levels(x, model.walk.num_levels, 0, seed, Draw(terms=terms))
        return model.final_denoise(x, Weights.EMA, terms) if config.diffusion.final_denoise else x

    return sample


def text_of(function: Any, inputs: Sequence[Any]) -> str:
    """Translates a function to StableHLO, and returns the text of the module.

    Args:
      function: the `tf.function` that `traced` returned.
      inputs: the example inputs that `traced` returned.
    """
    text = function.experimental_get_compiler_ir(*inputs)(stage='stablehlo')
    names: dict[str, str] = {}
    return _NAMES.sub(lambda found: names.setdefault(found[0], f'@f{len(names)}'), _LOCATIONS.sub('', text))


def variables_of(function: Any, inputs: Sequence[Any]) -> list[Any]:
    """Returns the variables of a function in the order in which its StableHLO module takes them.

    The module that `text_of` returns takes the inputs first, and then the variables.

    Args:
      function: the `tf.function` that `traced` returned.
      inputs: the example inputs that `traced` returned.
    """
    concrete = function.get_concrete_function(*inputs)
    by_handle = {id(variable.handle): variable for variable in concrete.graph.variables}
    return [by_handle[id(captured)] for captured in concrete.captured_inputs]


def updates_of(text: str) -> list[tuple[int, int]]:
    """Returns which outputs of a StableHLO module are the new values of variables.

    A module takes the values of the variables as arguments, and returns new values among its outputs. The
    next call of the module needs these outputs as its arguments.

    Args:
      text: the text of the module. Its attribute 'alias' says which output updates which argument.

    Returns:
      One pair for each such output: (index of the output, index of the argument for the same variable).

    Examples:
      >>> alias = 'parameter_index = array<i64>, parameter_number = 4 : i64}, output_index = array<i64: 2>}'
      >>> updates_of('[{alias = {kind = "may_alias", ' + alias + ']')
      [(2, 4)]
    """
    return [(int(output), int(argument)) for argument, output in _ALIAS.findall(text)]
