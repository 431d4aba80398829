"""Has the real TPU compiler compile the training step and the sampler of presets, on a machine without a TPU.

    python -m drl_tf.tools.tpu_compile --python=PYTHON --results=FILE [--dataset=cifar10 --batch_size=256 ...]

PYTHON is an interpreter with jax 0.10.2 and libtpu 0.0.52, which this package does not need otherwise.
Without options of `run.py` every preset is compiled. Each outcome is a line of FILE, and no text is compiled
twice: the same command goes on, and compiles what the code makes otherwise than before. `--table` prints FILE
as a table, beside what is predicted.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from absl import flags

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import check_writable

PRESETS = (
    '--dataset=cifar10 --recipe=t6', '--dataset=cifar10 --recipe=cdrl', '--dataset=cifar10 --recipe=t1k',
    '--dataset=cifar10 --recipe=t1k --objective=dsm', '--dataset=imagenet32 --recipe=t6',
    '--dataset=imagenet32 --recipe=cdrl', '--dataset=celeb_a', '--dataset=lsun_church',
    '--dataset=lsun_bedroom',
    '--dataset=lsun_church --image_size=128', '--dataset=lsun_bedroom '
                                              '--image_size=128', '--dataset=celeb_a_hq',
    '--dataset=celeb_a_hq --image_size=256', '--dataset=digits --recipe=t6', '--dataset=digits --recipe=cdrl',
    '--dataset=digits --recipe=t1k', '--dataset=emoji',
    '--dataset=emoji --image_size=64',
)  # fmt: skip
_WRONG_USE = 2
_WAYS = ('--microbatches', '--remat', '--noremat')
_LOCATIONS = re.compile(r'^#loc.*\n| loc\([^()]*\)', re.MULTILINE)
_NAMES = re.compile(r'@(?!main\b)[\w.$-]+')
COMPILER = pathlib.Path(__file__).with_name('tpu_compiler.py')


def lowered(config, program):
    """A program of a configuration for one device, as StableHLO; variables are taken and given back in place.

    Args:
      config: a `Config`.
      program: 'train', a step on the whole batch, or 'sample', from noise through all levels to
        `sample_batch_size` images.

    Returns:
      A module, text, without what says where in the source an operation is from, and what its functions are
      called.
    """
    import tensorflow as tf

    from drl_tf.core import noise
    from drl_tf.core.guidance import UNCONDITIONAL, guided
    from drl_tf.core.models import build_model
    from drl_tf.training.optimizers import compiled_model

    classes = config.data.num_classes
    if program == 'train':
        count, function = config.training.batch_size, compiled_model(config).train_step
        images, labels = tf.zeros([count, *config.image_shape]), tf.ones([count], tf.int32)
        inputs = [(images, labels) if classes else images]
    else:
        count, model = config.sampling.sample_batch_size, build_model(config)
        inputs = [tf.zeros([2], tf.int32), *([tf.ones([count], tf.int32)] if classes else [])]

        def function(seed, *labels):
            terms = guided(*labels, config.sampling.guidance) if labels else UNCONDITIONAL
            x = model.prior(count, noise.fold(seed, noise.PRIOR), 0)
            x = model.walk_levels(x, model.walk.num_levels, 0, seed, 0, 'ema', terms)
            return model.final_denoise(x, 'ema', terms) if config.diffusion.final_denoise else x

    text = tf.function(function, jit_compile=True).experimental_get_compiler_ir(*inputs)(stage='stablehlo')
    names = {}
    return _NAMES.sub(lambda found: names.setdefault(found[0], f'@f{len(names)}'), _LOCATIONS.sub('', text))


def predicted(line):
    """What `--dry_run` says of the memory of one device, for an outcome of a training step."""
    from drl_tf.cli import parsing
    from drl_tf.core.models import build_model
    from drl_tf.planning import memory

    config = parsing.configuration_of(line['preset'].split()).replace(
        precision='bfloat16', microbatches=line['microbatches']
    )
    return memory.needed(build_model(config.replace(remat=line['remat'])))[memory.SUM]


def outcomes(words, options):
    """Compiles the programs of a command line, the step with twice the microbatches until it fits; yields
    lines of the results."""
    from drl_tf.cli import parsing

    config = parsing.configuration_of(words).replace(precision='bfloat16')
    if options.program != 'train':
        yield _outcome(words, config, 'sample', options)
    while options.program != 'sample':
        line = _outcome(words, config, 'train', options)
        yield line
        training = config.training
        for_want_of_memory = 'error' in line and 'bytes' in line
        if not for_want_of_memory or training.batch_size % (2 * training.microbatches):
            return
        config = config.replace(microbatches=2 * training.microbatches)


def _outcome(words, config, program, options):
    """What compiling a program came to, a dict; it is known where the same text was compiled before."""
    training, text = config.training, lowered(config, program)
    preset = ' '.join(word for word in words if not word.startswith(_WAYS))
    line = {'preset': preset, 'program': program, 'topology': options.topology}
    line |= {'images': training.batch_size if program == 'train' else config.sampling.sample_batch_size}
    line |= {'microbatches': training.microbatches, 'remat': training.remat} if program == 'train' else {}
    line['sha256'] = hashlib.sha256(text.encode()).hexdigest()
    same = [
        other
        for other in _read(options.results)
        if (other['sha256'], other['topology']) == (line['sha256'], options.topology)
    ]
    known = [other for other in same if line.items() <= other.items()]
    if known:
        return known[0]
    line = {**same[0], **line} if same else {**line, **_compile(text, options)}
    os.makedirs(os.path.dirname(options.results) or '.', exist_ok=True)
    with open(options.results, 'a', encoding='utf-8') as file:
        file.write(json.dumps(line) + '\n')
    return line


def _compile(text, options):
    """What the compiler in the other interpreter said."""
    with tempfile.TemporaryDirectory() as directory:
        module = pathlib.Path(directory, 'module.mlir')
        module.write_text(text, encoding='utf-8')
        done = subprocess.run(
            [options.python, COMPILER, module, options.topology], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise UserError(f'--python={options.python} cannot compile for a TPU: {done.stderr[-1000:]}')
    return json.loads(done.stdout.splitlines()[-1])


def check_compiler(options):
    """Raises UserError where the interpreter, or the place of the results, is not fit, before anything takes
    time."""
    check_writable(os.path.dirname(options.results), '--results')
    try:
        subprocess.run([options.python, '-c', 'import jax, libtpu'], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f'--python={options.python} must be an interpreter with jax and libtpu ({one_line(error)})'
        ) from error


def _read(path):
    """The lines of the results, a list of dicts."""
    return (
        [json.loads(line) for line in pathlib.Path(path).read_text(encoding='utf-8').splitlines()]
        if os.path.exists(path)
        else []
    )


def table(lines):
    """The results as a table in Markdown, the last outcome of each preset and program, and what is predicted
    now."""
    rows = [
        '| preset | program | images | in parts of | compiles | seconds | GiB needed of 16 | of that the '
        'program | GiB predicted |'
    ]
    rows.append('|---' * 9 + '|')
    last = {
        (line['preset'], line['program'], line.get('remat'), line.get('microbatches')): line for line in lines
    }
    for line in sorted(
        last.values(),
        key=lambda line: PRESETS.index(line['preset']) if line['preset'] in PRESETS else len(PRESETS),
    ):
        part = line['images'] // line.get('microbatches', 1)
        verdict = f'no: {line["error"].splitlines()[0][:60]}' if 'error' in line else 'yes'
        program = line['program'] + (' `--remat`' if line.get('remat') else '')
        sizes = [
            line.get('bytes'),
            line.get('generated_code_bytes'),
            predicted(line) if line['program'] == 'train' else None,
        ]
        sizes = ['' if size is None else f'{size / 2**30:.2f}' for size in sizes]
        cells = [
            f'`{line["preset"]}`',
            program,
            line['images'],
            part,
            verdict,
            f'{line["seconds"]:.0f}',
            *sizes,
        ]
        rows.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join(rows)


def main(argv=None):
    """Compiles what the command line names, or prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--python', help='interpreter with jax and libtpu')
    parser.add_argument('--results', required=True, help='file of outcomes, one a line')
    parser.add_argument('--topology', default='v5e:2x2', help='what to compile for; one core of it')
    parser.add_argument('--program', choices=('train', 'sample'), help='which of the two; default: both')
    parser.add_argument(
        '--table', action='store_true', help='print the results as a table, and compile nothing'
    )
    options, words = parser.parse_known_args(argv)
    if options.table and not os.path.exists(options.results):
        parser.error(
            f'--results={options.results} is not there: give the file that a command without --table wrote'
        )
    if options.table:
        print(table(_read(options.results)))
        return 0
    if not options.python:
        parser.error('--python, the interpreter that compiles, or --table is needed')
    try:
        check_compiler(options)
        for preset in [words] if words else map(str.split, PRESETS):
            for line in outcomes(preset, options):
                print(
                    json.dumps({name: value for name, value in line.items() if name != 'sha256'}), flush=True
                )
    except (UserError, flags.Error, OSError) as error:
        print('error:', *str(error).split(), file=sys.stderr)
        return _WRONG_USE
    return 0


if __name__ == '__main__':
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    sys.exit(main())
