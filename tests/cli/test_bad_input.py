"""Bad flags and flagfiles: taken as they are meant, or refused in one line; never a traceback, never another
value."""

import dataclasses
import itertools
import os
import pathlib
import tempfile

import pytest
from absl import flags
from helpers.hostile import called, is_typed, refusal, tries
from hypothesis import example, given
from hypothesis import strategies as st

from drl_tf.cli import command_options, flagfiles, parsing, paths
from drl_tf.cli.command_options import MODES
from drl_tf.cli.options_by_mode import READ_BY
from drl_tf.config import config as configuration
from drl_tf.config import option_fields
from drl_tf.data import dataset_table

pytestmark = pytest.mark.usefixtures('work')

FIELDS = [field for group in parsing.option_groups() for field in dataclasses.fields(group)]
NAMES = [field.name for field in FIELDS]
SPECIAL = [
    '', ' ', '0', '-1', '1', '3', '8', '2147483648', '-2147483649', '1e3', '1e-320', '1e39', '1e400',
    '-inf', 'nan', 'NaN', '0x10', '1_0',
    '9' * 30, '9' * 5000, '1,2', '1,,2', ',', '1,nan', '"', '"1\n2', '1\r2', 'true', 'False', 'None', '[]',
    '{}', '٣', 'é', '\0', 'a\0b',
    '\udcff', '../..', '/dev/null/x', '~', '$HOME', '%s%n', '{0}', 'x' * 5000, '1,' * 3000 + '1', '--seed=1',
]  # fmt: skip
NUMBERS = st.one_of(st.integers(-(10**12), 10**12), st.floats(), st.integers(-3, 70), st.floats(-2, 2))
LISTS = st.lists(st.one_of(NUMBERS, st.integers(0, 9)), max_size=7).map(
    lambda numbers: ','.join(map(str, numbers))
)
CHOICES = st.sampled_from(
    [choice for field in FIELDS for choice in map(str, field.metadata['choices'] or ())]
    + [*dataset_table.DATASETS, *command_options.MODES]
)
VALUES = st.one_of(st.sampled_from(SPECIAL), NUMBERS.map(str), LISTS, CHOICES, st.text(max_size=12))
WORDS = st.one_of(
    st.builds('--{}={}'.format, st.sampled_from(NAMES), VALUES),
    st.builds('{}{}'.format, st.sampled_from(['--', '-', '--no', '---', '']), st.sampled_from(NAMES)),
    st.builds('--{}={}'.format, st.text(max_size=9), VALUES),
    st.sampled_from(
        [
            '--',
            '-',
            '--=',
            '--undefok=zebra',
            '--zebra=1',
            '--' + 'z' * 3000,
            '-h',
            '--flagfile',
            '--flagfile=',
            '--flagfile=/',
        ]
    ),
    VALUES,
)


def meant(field, text):
    """What a value on the command line stands for, or ValueError."""
    if field.type in (int, float):
        return field.type(int(text, 16)) if field.type is int and text.startswith('0x') else field.type(text)
    if field.type is str:
        if field.name in paths.PATHS and (text == '~' or text.startswith('~/')):
            return os.path.expanduser(text)
        return {'true': 'yes', 'false': 'no'}.get(text, text) if field.name == 'flip' else text
    kind = field.type.__args__[0]
    return tuple(map(kind, flags.ListParser().parse(text)))


def arguments_around(name, run_dir):
    """The mode that reads an option, and a run where it needs one."""
    first = ('sample', 'train') if name == 'weights' else ('train', *MODES)
    mode = next(mode for mode in first if mode in READ_BY[name])
    if mode == 'sweep_chains':  # Needs energies at any noise level, which those of the run are not.
        return [f'--mode={mode}', '--model=digits', f'--workdir={run_dir}/digits']
    return [f'--mode={mode}', *([] if mode in ('train', 'stats') else [f'--workdir={run_dir}'])]


@tries(400)
@given(
    field=st.sampled_from([field for field in FIELDS if field.type is not bool and field.name != 'mode']),
    text=VALUES,
)
@example(field=next(field for field in FIELDS if field.name == 'channel_mult'), text='1,' * 20000 + '1')
@example(field=next(field for field in FIELDS if field.name == 'train_steps'), text='9' * 30)
@example(field=next(field for field in FIELDS if field.name == 'mcmc_steps'), text='99999999999')
def test_one_flag(run_dir, work, field, text):
    """The work gets the very value, within its bounds; or the line names the flag."""
    del work[:]
    line = refusal(*called(*arguments_around(field.name, run_dir), f'--{field.name}={text}'))
    if line:
        assert f'--{field.name}' in line or f'--{field.name}'[1:] in line, line
        assert not work
        return
    ((command, config, workdir, devices, _),) = work
    option_fields.check(command)
    values = {
        **vars(command),
        **vars(devices),
        **{f.name: v for f, v in config.options()},
        'workdir': workdir,
    }
    value = values[field.name]
    if not (field.name == 'workdir' and not text) and not (
        field in dataclasses.fields(configuration.Data) and text.strip() in ('0', '-1')
    ):
        assert value == meant(field, text)
    assert is_typed(field, value)


@tries(300)
@given(words=st.lists(WORDS, max_size=6))
@example(words=['--undefok=zebra', '--zebra=1'])
@example(words=['--' + 'z' * 3000])
@example(words=['--workdir', '--restart'])
@example(words=['--dataset=digits', '--dry_run'])
@example(words=['--mode=sample', '--workdir=a\0b'])
def test_command_lines(run_dir, work, words):
    del work[:]
    line = refusal(*called(*words))
    assert not (line and work)


def test_unknown_options_and_lost_values_are_refused():
    assert 'unknown option --undefok' in refusal(*called('--undefok=zebra', '--zebra=1'))
    assert '--workdir has no value' in refusal(*called('--workdir', '--restart'))
    assert 'must be UTF-8' in refusal(*called('--workdir=a\udcff'))


LINES = st.one_of(
    st.builds('--batch_size={}'.format, st.integers(1, 99)),
    st.sampled_from(['', '# comment', '// comment', '  --batch_size=5  ', '\ufeff']),
)


@pytest.fixture(scope='module')
def place():
    with tempfile.TemporaryDirectory() as directory:
        yield pathlib.Path(directory)


@tries(150)
@given(
    content=st.one_of(
        st.binary(max_size=80),
        st.lists(st.one_of(LINES, WORDS), max_size=5).map(
            lambda x: '\n'.join(x).encode('utf-8', 'surrogateescape')
        ),
    )
)
@example(content=b'\xff\xfe--\0')
@example(content=b'--workdir=a\0b')
@example(content=b'--flagfile=a\0b')
def test_flagfiles_of_anything(place, work, content):
    del work[:]
    (place / 'any.flags').write_bytes(content)
    line = refusal(*called(f'--flagfile={place}/any.flags'))
    assert not (line and work)


@tries(100)
@given(data=st.data())
def test_nested_flagfiles(place, work, data):
    """The last option wins, in the order of reading; a file that reads itself, by whatever way, is refused by
    name."""
    count = data.draw(st.integers(1, 4))
    includes = st.integers(0, count - 1).map(lambda index: f'--flagfile={place}/{index}.flags')
    files = [
        data.draw(st.lists(st.one_of(LINES.filter(lambda line: '\ufeff' not in line), includes), max_size=4))
        for _ in range(count)
    ]
    for index, lines in enumerate(files):
        (place / f'{index}.flags').write_text('\n'.join(lines))

    def options(index, above=()):
        if index in above:
            raise RecursionError
        for line in files[index]:
            if line.startswith('--flagfile'):
                yield from options(int(line.removesuffix('.flags').rpartition('/')[2]), (*above, index))
            elif line.strip().startswith('--'):
                yield int(line.partition('=')[2])

    del work[:]
    line = refusal(*called('--batch_size=100', f'--flagfile={place}/0.flags'))
    try:
        expected = [100, *options(0)][-1]
    except RecursionError:
        assert 'reads itself' in line and '.flags' in line
    else:
        assert line is None and work[0][1].training.batch_size == expected


def test_flagfiles_are_bounded(place):
    """Forty files, each of which reads the next twice, are 2^40 readings; a file without end is not read to
    its end."""
    for index, following in itertools.pairwise(range(41)):
        (place / f'{index}.flags').write_text(f'--flagfile={place}/{following}.flags\n' * 2)
    (place / '40.flags').write_text('--seed=1')
    assert f'more than {flagfiles.MAX_FILES}' in refusal(*called(f'--flagfile={place}/0.flags'))
    assert 'more than 1,048,576 bytes' in refusal(*called('--flagfile=/dev/zero'))
