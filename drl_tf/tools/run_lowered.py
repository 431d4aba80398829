"""Runs with JAX the programs that `drl_tf.tools.lower` wrote: checks results, and measures the speed.

    python run_lowered.py FILE.npz ... [--matmul=tf32] [--steps=20] [--results=FILE.jsonl]

This file is a script of its own: it needs NumPy and jax (0.10.2), but neither TensorFlow nor this package.
`python -m drl_tf.tools.lower` writes the files. Each becomes one line of JSON with these values:

    passed       whether the numbers agree with TensorFlow's on CPU; null if the file has none of those
    differences  relative differences from TensorFlow's numbers, beside the tolerances of the precision
    compile_s    seconds to compile
    step_s       median seconds of a step, or of a call of the sampler; step_s_5_95 are two percentiles
    flops_per_s  operations per second, and their share of the device's peak if that is known
    bytes        memory that the program needs; peak_bytes is the device's peak, if it reports one
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

# Dense peaks according to their makers: NVIDIA's data sheets of H100 SXM, H200 and A100; Google's of TPU v5e.
PEAK_FLOPS = {
    'H100': {'float32': 67e12, 'tf32': 494.7e12, 'bfloat16': 989e12},
    'H200': {'float32': 67e12, 'tf32': 494.7e12, 'bfloat16': 989e12},
    'A100': {'float32': 19.5e12, 'tf32': 156e12, 'bfloat16': 312e12},
    'TPU v5 lite': {'bfloat16': 197e12},
}
# Largest relative differences from TensorFlow's numbers. `logs`: losses and gradient norms; `weights`: how
# far the weights moved; `images`: the samples.
TOLERANCES = {
    'float32': {'logs': 2e-3, 'weights': 0.05, 'images': 1e-2},
    'tf32': {'logs': 2e-2, 'weights': 0.3, 'images': 5e-2},
    'bfloat16': {'logs': 5e-2, 'weights': 0.5, 'images': 0.1},
}


def drawn(seed: int, shape: Sequence[int], std: float) -> np.ndarray:
    """Draws normal random weights of mean 0. A file can store their seed in place of the weights.

    Every version of NumPy draws the same numbers.

    Args:
      seed: the seed.
      shape: shape of the result, which is float32.
      std: standard deviation.

    Examples:
      >>> drawn(0, [2, 2], std=0.5).shape
      (2, 2)
    """
    return np.float32(std) * np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def initial_value(argument: dict[str, Any], arrays: Any) -> np.ndarray:
    """Returns the initial value of a variable of a training step or sampler.

    Args:
      argument: description of the variable, a dict: 'shape', 'dtype', and the source of the value. The
        source is 'fill' (a number, the value of all elements), or 'std' and 'seed' (of normal random values),
        or 'array' (a key of `arrays`).
      arrays: the arrays in the file that `drl_tf.tools.lower` wrote, {name: array}.

    Examples:
      >>> initial_value({'shape': [2], 'dtype': 'float32', 'fill': 1.0}, {})
      array([1., 1.], dtype=float32)
    """
    if 'fill' in argument:
        return np.full(argument['shape'], argument['fill'], argument['dtype'])
    if 'std' in argument:
        return drawn(argument['seed'], argument['shape'], argument['std'])
    return arrays[argument['array']]


class _Program:
    """A compiled program, with its variables on the device.

    Args:
      path: a file that `drl_tf.tools.lower` wrote.
      matmul: how a GPU multiplies in a float32 program, 'float32' or 'tf32'; a CPU always takes float32.

    Attributes:
      about: the description of the program in the file, {name: JSON value}.
      kind: 'float32', 'tf32' or 'bfloat16'.
      compile_s: seconds that compiling took.
    """

    def __init__(self, path: str, matmul: str) -> None:
        import jax

        jax.config.update('jax_enable_x64', True)  # The step of the optimizer is int64.
        self.device = jax.local_devices()[0]
        self.arrays = np.load(path)
        self.about = json.loads(str(self.arrays['description']))
        self.kind = matmul if self.about['precision'] == 'float32' else self.about['precision']
        text = bytes(self.arrays['module']).decode()
        if self.kind == 'float32':
            text = with_full_precision(text)
        begin = time.perf_counter()
        self.executable = _compiled(text, self.device)
        self.compile_s = time.perf_counter() - begin
        self.variables = [
            jax.device_put(initial_value(argument, self.arrays), self.device)
            for argument in self.about['variables']
        ]
        self.inputs = [
            [jax.device_put(self.arrays[name], self.device) for name in names]
            for names in self.about['inputs']
        ]

    def run(self, step: int) -> dict[str, np.ndarray]:
        """Runs the program once, which updates its variables; returns {name of an output: array}.

        Args:
          step: number of the step, whose inputs it takes; inputs that are too few are used again in turn.
        """
        inputs = self.inputs[step % len(self.inputs)]
        results = self.executable.execute_sharded([*inputs, *self.variables])
        arrays = [parts[0] for parts in results.disassemble_into_single_device_arrays()]
        for output, variable in self.about['updates']:
            self.variables[variable] = arrays[output]
        names = self.about['outputs']
        return {name: np.asarray(array) for name, array in zip(names, arrays[: len(names)], strict=True)}

    def memory(self) -> dict[str, Any]:
        """Returns {'bytes': memory of the program, 'peak_bytes': peak of the device, or None if unknown}."""
        stats = self.executable.get_compiled_memory_stats()
        names = ('argument', 'output', 'temp', 'generated_code')
        needed = sum(getattr(stats, f'{name}_size_in_bytes') for name in names) - stats.alias_size_in_bytes
        in_use = self.device.memory_stats() or {}
        return {'bytes': needed, 'peak_bytes': in_use.get('peak_bytes_in_use')}


def with_full_precision(text: str) -> str:
    """Changes a StableHLO text so that GPUs multiply float32 in full precision, not in TF32.

    Examples:
      >>> with_full_precision('precision = [DEFAULT, DEFAULT]')
      'precision = [HIGHEST, HIGHEST]'
    """
    text = text.replace('#stablehlo<precision DEFAULT>', '#stablehlo<precision HIGHEST>')
    return text.replace('precision = [DEFAULT, DEFAULT]', 'precision = [HIGHEST, HIGHEST]')


def _compiled(text: str, device: Any) -> Any:
    """Compiles the text of a StableHLO module for a jax device, and returns the loaded executable."""
    from jax._src.interpreters import mlir
    from jax._src.lib import _jax, xla_client
    from jaxlib.mlir import ir

    options = xla_client.CompileOptions()
    assignment = xla_client.DeviceAssignment.create(np.array([[device.id]], np.int32))
    for each in (options, options.executable_build_options):
        each.num_replicas = 1
        each.num_partitions = 1
        each.device_assignment = assignment
    with mlir.make_ir_context():
        module = ir.Module.parse(text)
        return device.client.compile_and_load(module, _jax.DeviceList((device,)), options)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Returns |found - expected| / |expected| in Euclidean norms; inf if a number in `found` is not finite.

    Examples:
      >>> difference(np.array([1.0, 2.0]), np.array([1.0, 2.5])).__round__(3)
      0.186
    """
    if not np.isfinite(found).all():
        return float('inf')
    error = float(np.linalg.norm(np.float64(found) - np.float64(expected)))
    return error / max(float(np.linalg.norm(np.float64(expected))), 1e-12)


def _differences(program: _Program) -> dict[str, float]:
    """Runs the steps of a program that have reference numbers, and compares the results with TensorFlow's.

    Returns:
      {name: relative difference}. For training: each loss and gradient norm over all steps, and 'weights of
      <network>', the changes of the weights. For the sampler: 'images'. {} if the file has no reference.
    """
    arrays, about = program.arrays, program.about
    if not about['reference_steps']:
        return {}
    logs = [program.run(step) for step in range(about['reference_steps'])]
    if about['program'] == 'sample':
        shown = len(arrays['expected/images'])
        return {'images': difference(logs[-1]['images'][:shown], arrays['expected/images'])}
    found = {
        name: difference(np.array([log[name] for log in logs]), arrays[f'expected/{name}'])
        for name in about['outputs']
    }
    moved: dict[str, list[np.ndarray]] = {}
    for number, argument in enumerate(about['variables']):
        if (key := f'expected/moved/{number}') in arrays:
            change = np.asarray(program.variables[number]) - initial_value(argument, arrays)
            mine = moved.setdefault(argument['network'], [np.zeros(0), np.zeros(0)])
            mine[0] = np.append(mine[0], change.ravel()[probes(change.size)])
            mine[1] = np.append(mine[1], arrays[key])
    return {**found, **{f'weights of {name}': difference(*pair) for name, pair in moved.items()}}


def probes(size: int) -> np.ndarray:
    """Returns indices of elements to compare: all indices up to a `size` of 1,000, else 1,000 random ones.

    The random choice depends only on `size`.

    Examples:
      >>> len(probes(10)), len(probes(10_000))
      (10, 1000)
    """
    return np.arange(size) if size <= 1000 else np.random.RandomState(0).randint(0, size, 1000)


def tolerance(name: str, kind: str) -> float:
    """Returns the largest relative difference from TensorFlow's results that counts as equal.

    Args:
      name: the compared result: 'images', 'weights of <network>', or a logged number such as 'loss'.
      kind: how the program computes: 'float32', 'tf32' or 'bfloat16'.
    """
    group = 'weights' if name.startswith('weights') else 'images' if name == 'images' else 'logs'
    return TOLERANCES[kind][group]


def _measured(path: str, matmul: str, steps: int) -> dict[str, Any]:
    """Compiles, checks and times a program.

    Args:
      path: a file that `drl_tf.tools.lower` wrote.
      matmul: how a GPU multiplies in a float32 program, 'float32' or 'tf32'.
      steps: number of steps to time.

    Returns:
      {name: JSON value}, such as 'passed' (whether it agrees with TensorFlow; None without reference numbers)
      and 'step_s' (median seconds of a step).
    """
    program = _Program(path, matmul)
    about = program.about
    found = _differences(program)
    program.run(0)
    seconds = []
    for step in range(steps):
        begin = time.perf_counter()
        program.run(step)
        seconds.append(time.perf_counter() - begin)
    rate = float(about['flops'] / np.median(seconds))
    peaks: dict[str, float] = next(
        (peaks for name, peaks in PEAK_FLOPS.items() if name in program.device.device_kind), {}
    )
    passed = all(value <= tolerance(name, program.kind) for name, value in found.items())
    return {
        **{name: about[name] for name in ('preset', 'program', 'images', 'flops')},
        'type': program.kind,
        'device': program.device.device_kind,
        'passed': passed if found else None,
        'differences': {name: [value, tolerance(name, program.kind)] for name, value in found.items()},
        'compile_s': program.compile_s,
        'step_s': float(np.median(seconds)),
        'step_s_5_95': np.percentile(seconds, [5, 95]).tolist(),
        'flops_per_s': rate,
        'share_of_peak': rate / peaks[program.kind] if program.kind in peaks else None,
        **program.memory(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs this script with the arguments `argv` (None: sys.argv); returns 1 if a result is wrong, else 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('files', nargs='+', help='files that drl_tf.tools.lower wrote')
    parser.add_argument(
        '--matmul',
        choices=('float32', 'tf32'),
        default='float32',
        help='how a GPU multiplies float32 (default: %(default)s)',
    )
    parser.add_argument('--steps', type=int, default=20, help='steps to time (default: %(default)s)')
    parser.add_argument('--results', help='file to which the lines are appended as well')
    options = parser.parse_args(argv)
    if options.steps < 1:
        parser.error(f'--steps={options.steps} must be at least 1')
    lines = []
    for path in options.files:
        line = json.dumps(_measured(path, options.matmul, options.steps))
        print(line, flush=True)
        lines.append(line)
        if options.results:
            with open(options.results, 'a', encoding='utf-8') as file:
                file.write(f'{line}\n')
    return int(any(json.loads(line)['passed'] is False for line in lines))


if __name__ == '__main__':
    sys.exit(main())
