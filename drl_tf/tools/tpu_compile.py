"""Compiles the training step and the sampler of presets with the real TPU compiler; needs no TPU.

    python -m drl_tf.tools.tpu_compile --python=PYTHON --results=FILE [--dataset=cifar10 --batch_size=256 ...]

PYTHON is an interpreter with jax 0.10.2 and libtpu 0.0.52, which this package does not need otherwise.
Without options of `run.py` all presets are compiled. Each outcome becomes a line of FILE. No program is
compiled twice: a second run resumes, and compiles only programs that have changed. `--table` prints FILE as a
table, beside the predicted memory.
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from absl import flags

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import check_writable
from drl_tf.config.config import Config
from drl_tf.tools.lowering import lowered

PRESETS = (
    '--dataset=cifar10 --recipe=t6',
    '--dataset=cifar10 --recipe=cdrl',
    '--dataset=cifar10 --recipe=t1k',
    '--dataset=cifar10 --recipe=t1k --objective=dsm',
    '--dataset=cifar10 --recipe=preconditioned',
    '--dataset=imagenet32 --recipe=t6',
    '--dataset=imagenet32 --recipe=cdrl',
    '--dataset=imagenet32 --recipe=preconditioned',
    '--dataset=celeb_a',
    '--dataset=celeb_a --recipe=preconditioned',
    '--dataset=lsun_church',
    '--dataset=lsun_church --recipe=preconditioned',
    '--dataset=lsun_bedroom',
    '--dataset=lsun_bedroom --recipe=preconditioned',
    '--dataset=lsun_church --image_size=128',
    '--dataset=lsun_church --image_size=128 --recipe=preconditioned',
    '--dataset=lsun_bedroom --image_size=128',
    '--dataset=lsun_bedroom --image_size=128 --recipe=preconditioned',
    '--dataset=celeb_a_hq',
    '--dataset=celeb_a_hq --recipe=preconditioned',
    '--dataset=celeb_a_hq --image_size=256',
    '--dataset=celeb_a_hq --image_size=256 --recipe=preconditioned',
    '--dataset=digits --recipe=t6',
    '--dataset=digits --recipe=cdrl',
    '--dataset=digits --recipe=t1k',
    '--dataset=digits --recipe=preconditioned',
    '--dataset=emoji --recipe=cdrl',
    '--dataset=emoji --recipe=cdrl --image_size=64',
    '--dataset=emoji --recipe=preconditioned',
    '--dataset=emoji --recipe=preconditioned --image_size=64',
)
_WRONG_USE = 2
_MEMORY_OPTIONS = ('--microbatches', '--remat', '--noremat')
COMPILER = pathlib.Path(__file__).with_name('tpu_compiler.py')


def predicted(line: dict[str, Any]) -> int:
    """Returns the memory that `--dry_run` predicts for a training step, in bytes per device.

    The table of this program shows it beside the memory that the TPU compiler reports.

    Args:
      line: the outcome of compiling the step, a line of the file --results. It holds 'preset' (options
        of `run.py`, one string), 'microbatches' and 'remat' (whether activations are recomputed).
    """
    from drl_tf.cli import parsing
    from drl_tf.core.build_model import build_model
    from drl_tf.planning import memory

    config = parsing.configuration_of(line['preset'].split())
    config = config.replace(precision='bfloat16', microbatches=line['microbatches'], remat=line['remat'])
    return memory.needed(build_model(config))[memory.SUM]


def _outcomes(words: Sequence[str], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Compiles the training step and the sampler of a preset for a TPU.

    A training step that needs too much memory is compiled again with twice the microbatches, until it fits.

    Args:
      words: options of `run.py`, the preset.
      options: options of this program.

    Yields:
      The outcome of each compilation, {name: JSON value}: 'preset', 'program', 'images', 'seconds', 'bytes'
      and so on, and 'error' if it failed.
    """
    from drl_tf.cli import parsing

    config = parsing.configuration_of(words).replace(precision='bfloat16')
    if options.program != 'train':
        yield _outcome(words, config, 'sample', options)
    while options.program != 'sample':
        line = _outcome(words, config, 'train', options)
        yield line
        training = config.training
        needs_too_much_memory = 'error' in line and 'bytes' in line
        if not needs_too_much_memory or training.batch_size % (2 * training.microbatches):
            return
        config = config.replace(microbatches=2 * training.microbatches)


def _outcome(
    words: Sequence[str], config: Config, program: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Returns the outcome of compiling a program; takes it from the results if they have the same text."""
    training = config.training
    text = lowered(config, program)
    line: dict[str, Any] = {
        'preset': ' '.join(word for word in words if not word.startswith(_MEMORY_OPTIONS)),
        'program': program,
        'topology': options.topology,
    }
    if program == 'train':
        line['images'] = training.batch_size
        line['microbatches'] = training.microbatches
        line['remat'] = training.remat
    else:
        line['images'] = config.sampling.sample_batch_size
    line['sha256'] = hashlib.sha256(text.encode()).hexdigest()
    same = [
        other
        for other in _read(options.results)
        if other['sha256'] == line['sha256'] and other['topology'] == options.topology
    ]
    known = [other for other in same if line.items() <= other.items()]
    if known:
        return known[0]
    line = {**same[0], **line} if same else {**line, **_compile(text, options)}
    os.makedirs(os.path.dirname(options.results) or '.', exist_ok=True)
    with open(options.results, 'a', encoding='utf-8') as file:
        file.write(json.dumps(line) + '\n')
    return line


def _compile(text: str, options: argparse.Namespace) -> dict[str, Any]:
    """Runs `tpu_compiler` in the Python interpreter of the options; returns the outcome that it prints."""
    with tempfile.TemporaryDirectory() as directory:
        module = pathlib.Path(directory, 'module.mlir')
        module.write_text(text, encoding='utf-8')
        done = subprocess.run(
            [options.python, COMPILER, module, options.topology], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise UserError(f'--python={options.python} cannot compile for a TPU: {done.stderr[-1000:]}')
    return json.loads(done.stdout.splitlines()[-1])


def check_compiler(options: argparse.Namespace) -> None:
    """Checks the options --python and --results of this program.

    Args:
      options: the parsed options, with attributes `python` and `results`.

    Raises:
      UserError: the interpreter lacks jax or libtpu, or the results cannot be written.
    """
    check_writable(os.path.dirname(options.results), '--results')
    try:
        subprocess.run([options.python, '-c', 'import jax, libtpu'], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f'--python={options.python} must be an interpreter with jax and libtpu ({one_line(error)})'
        ) from error


def _read(path: str) -> list[dict[str, Any]]:
    """Reads the outcomes in a file; returns [] if there is no file yet."""
    if not os.path.exists(path):
        return []
    return [json.loads(line) for line in pathlib.Path(path).read_text(encoding='utf-8').splitlines()]


def _table(lines: Iterable[dict[str, Any]]) -> str:
    """Returns a Markdown table of outcomes with memory; of equal programs, the last one counts."""
    rows = [
        '| preset | program | images | in parts of | compiles | seconds | GiB needed of 16 | of that the '
        'program | GiB predicted |'
    ]
    rows.append('|---' * 9 + '|')
    last = {
        (line['preset'], line['program'], line.get('remat'), line.get('microbatches')): line for line in lines
    }
    for line in sorted(last.values(), key=_position):
        rows.append(f'| {" | ".join(map(str, _cells(line)))} |')
    return '\n'.join(rows)


def _position(line: dict[str, Any]) -> int:
    """Returns the position of an outcome in the table: in the order of `PRESETS`, others last."""
    preset = line['preset']
    return PRESETS.index(preset) if preset in PRESETS else len(PRESETS)


def _cells(line: dict[str, Any]) -> list[Any]:
    """Returns the cells of the table's row for an outcome."""
    is_step = line['program'] == 'train'
    sizes = [line.get('bytes'), line.get('generated_code_bytes'), predicted(line) if is_step else None]
    return [
        f'`{line["preset"]}`',
        line['program'] + (' `--remat`' if line.get('remat') else ''),
        line['images'],
        line['images'] // line.get('microbatches', 1),
        f'no: {line["error"].splitlines()[0][:60]}' if 'error' in line else 'yes',
        f'{line["seconds"]:.0f}',
        *('' if size is None else f'{size / 2**30:.2f}' for size in sizes),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Compiles training steps and samplers as the command line says; with --table, prints the results.

    Args:
      argv: the words of the command line; None: `sys.argv[1:]`.

    Returns:
      The exit code: 0, even if a step or a sampler did not compile; 2 if options of `run.py` are wrong, or
      --python is no interpreter with the compiler, or --results cannot be written.

    Raises:
      SystemExit: an option of this program is missing or wrong, or --table finds no file --results.
    """
    parser = _parser()
    options, words = parser.parse_known_args(argv)
    if options.table and not os.path.exists(options.results):
        parser.error(
            f'--results={options.results} is not there: give the file that a command without --table wrote'
        )
    if options.table:
        print(_table(_read(options.results)))
        return 0
    if not options.python:
        parser.error('give --python, the interpreter that compiles, or --table')
    try:
        check_compiler(options)
        for preset in [words] if words else map(str.split, PRESETS):
            for line in _outcomes(preset, options):
                shown = {name: value for name, value in line.items() if name != 'sha256'}
                print(json.dumps(shown), flush=True)
    except (UserError, flags.Error, OSError) as error:
        print('error:', *str(error).split(), file=sys.stderr)
        return _WRONG_USE
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--python', help='interpreter with jax and libtpu')
    parser.add_argument('--results', required=True, help='file of outcomes, one a line')
    parser.add_argument('--topology', default='v5e:2x2', help='TPU topology; one of its cores is used')
    parser.add_argument('--program', choices=('train', 'sample'), help='which program; default: both')
    parser.add_argument(
        '--table', action='store_true', help='print the results as a table; nothing is compiled'
    )
    return parser


if __name__ == '__main__':
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    sys.exit(main())
