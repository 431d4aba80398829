"""Writes the training step and the sampler of presets to files that JAX can run without TensorFlow.

    python -m drl_tf.tools.lower --directory=DIRECTORY [--program=train] [--steps=5] [--dataset=digits ...]

To lower a program is to translate it to StableHLO, the input of XLA's compilers. Without options of `run.py`
and without --model, this tool lowers the presets of digits and emoji. Each program becomes one `.npz` file:
the StableHLO text, the inputs, the initial variables, and reference numbers that TensorFlow computes on CPU
for a few steps. `run_lowered.py` runs such files on machines without TensorFlow.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from drl_tf.base.errors import UserError
from drl_tf.base.files import check_writable, digest, written_aside
from drl_tf.config.config import Config
from drl_tf.tools import lowering, run_lowered
from drl_tf.tools.bench.settings import with_images
from drl_tf.tools.tpu_compiler import for_jax

PRESETS = (
    '--dataset=digits --recipe=t6',
    '--dataset=digits --recipe=cdrl',
    '--dataset=digits --recipe=t1k',
    '--dataset=digits --recipe=preconditioned',
    '--dataset=emoji --recipe=cdrl',
    '--dataset=emoji --recipe=preconditioned',
)
PROGRAMS = ('train', 'sample')
_WRONG_USE = 2
_LONGEST_NAME = 40
# Bytes of weights that a file stores. `lower` and `run_lowered` draw larger weights from a seed.
MOST_STORED = 16 * 2**20
_IMAGES_KEPT = 4  # Number of samples that the reference stores.


class InitialValues:
    """Collects the initial values of variables; stores equal arrays once, and constant arrays not at all.

    Args:
      draws: {path of a variable: {'seed': .., 'std': standard deviation}} of the variables whose values
        `run_lowered` draws from a seed; their values are not stored.

    Attributes:
      stored: {name: array}, the stored values.
    """

    def __init__(self, draws: dict[str, dict[str, Any]]) -> None:
        self.draws = draws
        self.stored: dict[str, np.ndarray] = {}
        self._names: dict[tuple[Any, ...], str] = {}

    def add(self, variable: Any) -> dict[str, Any]:
        """Adds a variable; returns the description that `run_lowered.initial_value` turns into its value."""
        value = variable.numpy()
        path = _path(variable)
        described = {'name': path, 'shape': list(value.shape), 'dtype': str(value.dtype)}
        if path in self.draws:
            return {**described, **self.draws[path]}
        first = value.ravel()[0]
        if (value == first).all():
            return {**described, 'fill': first.item()}
        key = (value.shape, value.dtype, value.tobytes())
        name = self._names.setdefault(key, f'variable/{len(self._names)}')
        self.stored[name] = value
        return {**described, 'array': name}


def _path(variable: Any) -> str:
    """Returns the path of a variable, such as 'network/conv_in/kernel'."""
    return variable.name.split(':')[0]


def networks_of(model: Any, variables: Sequence[Any]) -> list[str | None]:
    """Returns the network to which each variable of a training step or a sampler belongs.

    Args:
      model: the model.
      variables: the variables that the model's training step or its sampler uses.

    Returns:
      The name of a network for each variable, such as 'network' (trained weights) or 'ema_network' (their
      averages). None for variables that are not trainable weights, such as the state of the optimizer.
    """
    names: dict[int, str] = {}
    for average, network in model.averages:
        for mean, weight in zip(average.weights, network.weights, strict=True):
            if weight.trainable:
                names[id(mean.value.handle)] = average.name
                names[id(weight.value.handle)] = network.name
    return [names.get(id(variable.handle)) for variable in variables]


def _draw_weights(model: Any) -> dict[str, dict[str, Any]]:
    """Replaces large kernels of a model by random numbers that can be drawn again from a seed.

    This keeps the files of programs small. Nothing is replaced if all weights are small enough to be stored.

    Returns:
      {path of a replaced variable: {'seed': .., 'std': standard deviation}}; {} if none was replaced.
    """
    pairs = [
        pair
        for average, network in model.averages
        for pair in zip(network.weights, average.weights, strict=True)
    ]
    if sum(4 * int(np.prod(weight.shape)) for weight, _ in pairs) <= MOST_STORED:
        return {}
    found = {}
    for seed, (weight, average) in enumerate(pairs):
        if len(weight.shape) > 1 and weight.shape[0] > 1:
            std = float(np.std(weight.numpy()))
            for variable in (weight, average):
                variable.assign(run_lowered.drawn(seed, weight.shape, std))
                found[variable.path] = {'seed': seed, 'std': std}
    return found


def _batches(config: Config, program: str, steps: int, example: Sequence[Any]) -> list[list[np.ndarray]]:
    """Returns the inputs of a program at each step: images or the sampler's seed; then labels, if any."""
    import tensorflow as tf

    from drl_tf.data import pipeline

    if program == 'sample':
        labels = [np.asarray(each) for each in example[1:]]
        return [[np.array([step, 3], np.int32), *labels] for step in range(steps)]
    images = pipeline.training_images(config.data, config.training.batch_size, config.training.seed)
    return [[np.asarray(part) for part in tf.nest.flatten(batch)] for batch in images.take(steps)]


def _reference(
    function: Any,
    weights: dict[int, Any],
    inputs: list[list[np.ndarray]],
    example: Sequence[Any],
) -> dict[str, np.ndarray]:
    """Runs a program in TensorFlow on this machine, compiled by XLA, to get reference numbers.

    Args:
      function: the program.
      weights: {index of a variable: variable}, the weights of the networks.
      inputs: the inputs of each step, a list of arrays.
      example: example inputs, from `lowering.traced`.

    Returns:
      {name: array}. For training: each logged number at all steps, float32 [steps]; and 'moved/<index of a
      variable>', the change in value of at most 1,000 elements of the variable. For the sampler: 'images',
      the first images of the last step.
    """
    import tensorflow as tf

    before = {number: weight.numpy() for number, weight in weights.items()}
    logs = []
    for arrays in inputs:
        tensors = tf.nest.pack_sequence_as(example, [tf.constant(array) for array in arrays])
        logs.append(function(*tensors))
    if not isinstance(logs[0], dict):
        return {'images': logs[-1].numpy()[:_IMAGES_KEPT]}
    found = {name: np.array([float(log[name]) for log in logs], np.float32) for name in logs[0]}
    for number, weight in weights.items():
        change = weight.numpy() - before[number]
        found[f'moved/{number}'] = change.ravel()[run_lowered.probes(change.size)]
    return found


def _write(model: Any, program: str, preset: str, path: str, steps: int) -> None:
    """Translates a program of a model to StableHLO, and writes it to a file with its inputs and weights.

    Args:
      model: the model, from `lowering.new_model`; 'train' changes its weights.
      program: 'train' or 'sample'.
      preset: options of `run.py`, which name the program in the results.
      path: the `.npz` file.
      steps: number of steps for which the file holds reference numbers; 0: none.
    """
    draws = _draw_weights(model)
    function, example = lowering.traced(model, program)
    text = for_jax(lowering.text_of(function, example))
    variables = lowering.variables_of(function, example)
    networks = networks_of(model, variables)
    weights = {number: variables[number] for number, name in enumerate(networks) if name}
    values = InitialValues(draws)
    inputs = _batches(model.config, program, max(1, steps), example)
    names = [[f'input/{step}/{part}' for part in range(len(parts))] for step, parts in enumerate(inputs)]
    about = {
        'preset': preset,
        'program': program,
        'precision': model.config.training.precision,
        **_size(model, program),
        'outputs': sorted([*model.learners, 'gradient_norm']) if program == 'train' else ['images'],
        'variables': [
            {**values.add(each), 'network': name} for each, name in zip(variables, networks, strict=True)
        ],
        'updates': [(output, number - len(names[0])) for output, number in lowering.updates_of(text)],
        'inputs': names,
        'reference_steps': steps,
    }
    stored: dict[str, Any] = dict(values.stored)
    for row, parts in zip(names, inputs, strict=True):
        stored.update(zip(row, parts, strict=True))
    if steps:
        expected = _reference(function, weights, inputs, example)
        stored.update({f'expected/{name}': value for name, value in expected.items()})
    stored['module'] = np.frombuffer(text.encode(), np.uint8)
    stored['description'] = np.array(json.dumps(about))
    with written_aside(path, 'wb') as file:
        np.savez_compressed(file, **stored)


def _size(model: Any, program: str) -> dict[str, int]:
    """Returns how many images and operations a training step, or a call of the sampler, handles."""
    from drl_tf.planning.flops import cost

    costs = cost(model)
    if program == 'train':
        return {'images': model.config.training.batch_size, 'flops': costs['FLOPs of a training step']}
    count = model.config.sampling.sample_batch_size
    return {'images': count, 'flops': count * costs['FLOPs to sample an image']}


def main(argv: Sequence[str] | None = None) -> int:
    """Writes training steps and samplers to files, as the options say; returns the exit code, 0 for success.

    Args:
      argv: the words of the command line; None: `sys.argv[1:]`.
    """
    options, words = _parser().parse_known_args(argv)
    try:
        check_writable(options.directory, '--directory')
        if options.steps < 0:
            raise UserError(f'--steps={options.steps} must be at least 0')
        if options.model and words:
            raise UserError(f'--model={options.model} has its own options: drop {" ".join(words)}')
        for preset in [words] if words or options.model else map(str.split, PRESETS):
            for precision in options.precision.split(','):
                for program in [options.program] if options.program else PROGRAMS:
                    print(_lower(preset, precision, program, options), flush=True)
    except (UserError, flags.Error, OSError) as error:
        print('error:', *str(error).split(), file=sys.stderr)
        return _WRONG_USE
    return 0


def _lower(words: Sequence[str], precision: str, program: str, options: argparse.Namespace) -> str:
    """Writes a program of a preset, or of an exported model, and returns the path of the file."""
    from drl_tf.cli import parsing
    from drl_tf.runs import exported

    version = exported.find(options.model) if options.model else ''
    config = exported.load_config(version) if version else parsing.configuration_of(words)
    config = config.with_flags(precision=precision)
    with tempfile.TemporaryDirectory() as directory:
        config = with_images(config, directory)
        model = lowering.new_model(config, program)
        if version:
            exported.restore(model, version)
        preset = f'--model={options.model}' if version else ' '.join(words)
        slug = re.sub(r'\W+', '_', preset.replace('dataset=', '').replace('recipe=', '')).strip('_')
        name = slug if len(slug) <= _LONGEST_NAME else f'{slug[:_LONGEST_NAME]}_{digest(preset)}'
        path = os.path.join(options.directory, f'{name}_{program}_{precision}.npz')
        _write(model, program, preset, path, options.steps)
    return f'{path}: {os.path.getsize(path) / 2**20:.1f} MiB'


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--directory', required=True, help='directory for the files')
    parser.add_argument('--program', choices=PROGRAMS, help='which program (default: both)')
    parser.add_argument(
        '--precision',
        default='float32,bfloat16',
        help='float32, bfloat16, or both with a comma between (default: both)',
    )
    parser.add_argument(
        '--steps',
        type=int,
        default=5,
        help='steps whose numbers the file holds; 0: none, for presets that take too long here '
        '(default: %(default)s)',
    )
    parser.add_argument('--model', help='exported model, or the name of a shipped one, instead of a preset')
    return parser


if __name__ == '__main__':
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    sys.exit(main())
