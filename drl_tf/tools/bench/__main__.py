"""Measures time and memory of training, sampling and starting, and compares them with the machine's limits.

    python -m drl_tf.tools.bench [PART ...] [--preset='--dataset=digits --recipe=t6' ...] [--directory=DIR]

Parts, by default the first four:

    training    a training step, split into its parts, and sampling; the convolutions by themselves
    start       seconds from a command to its result: imports, --help, first step, first sample, an export
    memory      peak memory of training and sampling against K and T
    growth      how the cost grows with batch, K, T, pixels and channels: slopes and a plot
    input       images per second of the input pipeline at every preset
    profile     seconds of a training step by kind of operation, by TensorFlow's profiler
    evaluation  decoding and resizing of JPEGs, extractors of features, the Fréchet distance

K is the number of chain steps at each level, T the number of noise levels. Each round measures everything in
a part once; results are medians and quartiles over the rounds. Each result becomes a line of DIR/bench.jsonl,
and each part ends with a table. Run the benchmarks on an idle machine.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags

from drl_tf.base.errors import UserError
from drl_tf.base.files import check_writable
from drl_tf.cli import parsing
from drl_tf.tools.bench.settings import Settings, precisions_of, whole_numbers

PARTS = ('training', 'start', 'memory', 'growth', 'input', 'profile', 'evaluation')
_DEFAULT_PARTS = PARTS[:4]
_PRESETS = (
    '--dataset=digits',
    '--dataset=digits --recipe=t6',
    '--dataset=digits --recipe=cdrl',
)
_WRONG_USE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmarks that the command line names; returns the exit code, 0 if all were measured."""
    options = _parser().parse_args(argv)
    try:
        _run(options, _settings(options))
    except (UserError, flags.Error, OSError) as error:
        print('error:', *str(error).split(), file=sys.stderr)
        return _WRONG_USE
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    """Returns the settings; raises UserError if an option or a preset is wrong."""
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        raise UserError(f'unknown part {unknown[0]!r}: choose from {", ".join(PARTS)}')
    if 'start' in (options.parts or _DEFAULT_PARTS) and not importlib.util.find_spec('tensorflow_serving'):
        raise UserError(
            "part start needs the package tensorflow-serving-api: pip install 'drl_tf[serving]', or name the "
            f'other parts, {" ".join(part for part in _DEFAULT_PARTS if part != "start")}'
        )
    for name, least in (('rounds', 1), ('repeats', 1), ('steps', 4), ('features', 2), ('dimensions', 1)):
        if getattr(options, name) < least:
            raise UserError(f'--{name}={getattr(options, name)} must be at least {least}')
    check_writable(options.directory, '--directory')
    settings = Settings(
        presets=tuple(options.preset or _PRESETS),
        base=options.base,
        precisions=precisions_of(options.precisions),
        rounds=options.rounds,
        repeats=options.repeats,
        steps=options.steps,
        factors=whole_numbers('--factors', options.factors),
        directory=options.directory,
    )
    for preset in (*settings.presets, settings.base):
        parsing.configuration_of(preset.split())
    return settings


def _run(options: argparse.Namespace, settings: Settings) -> None:
    """Measures the parts in order; writes each result as soon as it is known, and the tables of each part."""
    from drl_tf.distributed import cluster, devices
    from drl_tf.tools.bench import report

    os.makedirs(options.directory, exist_ok=True)
    split = 'yes' if options.cpu_split else 'no'
    devices.set_up(False, cluster.Devices(strategy='one', cpu_split=split), options.cpu_split)
    machine = {'part': 'machine', 'name': 'machine', 'cores': len(os.sched_getaffinity(0))}
    report.append(options.directory, {**machine, **devices.surroundings(deterministic=False)})
    for part in options.parts or _DEFAULT_PARTS:
        found = []
        for line in _measure(part, options)(settings):
            report.append(options.directory, line)
            found.append(line)
        for table in report.tables(found):
            print(table, end='\n\n', flush=True)


def _measure(part: str, options: argparse.Namespace) -> Callable[[Any], Iterator[dict[str, Any]]]:
    """Returns the function that measures a part: settings -> results, each a {name: value}."""
    if part == 'training':
        from drl_tf.tools.bench import training

        return training.lines
    if part in ('start', 'memory'):
        from drl_tf.tools.bench import processes

        return processes.start_lines if part == 'start' else processes.memory_lines
    if part == 'growth':
        from drl_tf.tools.bench import growth

        return growth.lines
    if part == 'profile':
        from drl_tf.tools.bench import profile

        return profile.lines
    if part == 'input':
        return lambda settings: _input_lines(options.seconds)
    from drl_tf.tools.bench import evaluation

    scoring = evaluation.Scoring(options.features, options.dimensions, options.inception)
    return lambda settings: evaluation.lines(settings, scoring)


def _input_lines(seconds: float) -> Iterator[dict[str, Any]]:
    from drl_tf.tools.bench import input_speed

    with tempfile.TemporaryDirectory() as directory:
        for dataset, size in input_speed.presets():
            yield from input_speed.lines(dataset, size, directory, seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m drl_tf.tools.bench',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('parts', nargs='*', metavar='PART', help='what to measure')
    add('--preset', action='append', help='options of run.py; repeat it for several presets')
    add(
        '--base',
        default='--dataset=digits --recipe=t6',
        help='preset whose batch, K, T, pixels and channels memory and growth change (default: %(default)s)',
    )
    add('--precisions', default='float32,bfloat16', help='default: %(default)s')
    add('--rounds', type=int, default=15, help='measurements of each quantity (default: %(default)s)')
    add('--repeats', type=int, default=3, help='starts of each process (default: %(default)s)')
    add('--steps', type=int, default=110, help='training steps of part start (default: %(default)s)')
    add('--factors', default='1,2,4', help='factors of memory and growth (default: %(default)s)')
    add('--seconds', type=float, default=5, help='time for each row of part input (default: %(default)s)')
    add('--features', type=int, default=50_000, help='features of each set (default: %(default)s)')
    add('--dimensions', type=int, default=2048, help='dimensions of a feature (default: %(default)s)')
    add('--inception', default='', help='directory of Inception as a SavedModel, to measure it too')
    add('--cpu_split', action='store_true', help='split batches over the cores, as run.py --cpu_split=yes')
    add('--directory', default='runs/bench', help='directory for the results (default: %(default)s)')
    return parser


if __name__ == '__main__':
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    sys.exit(main())
