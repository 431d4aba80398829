"""What is refused before any work: in well under a second, without TensorFlow, in one line that names the
option, and without a trace on the disk."""

import contextlib
import os
import subprocess
import sys
import types

import pytest
from helpers.tiny import ROOT, TINY, refused, run

from drl_tf.base.errors import UserError
from drl_tf.cli import checks, parsing
from drl_tf.cli.command_options import Command, export_directory
from drl_tf.config import combinations, config
from drl_tf.distributed import devices
from drl_tf.editing import pairs
from drl_tf.evaluation import evaluate, evaluator
from drl_tf.training.train import train

WITHOUT_TENSORFLOW = """
import sys
from drl_tf.cli.main import main
for line in sys.stdin.read().splitlines():
    assert main(['run.py', *line.split()]) == 2, line
    assert 'tensorflow' not in sys.modules, line
"""
REFUSED = [
    ('--workdir=FILE', '--workdir=FILE cannot be written to (Not a directory)'),
    ('--workdir=/proc/x', '--workdir=/proc/x cannot be written to'),
    ('--mode=export --model=digits --export_dir=/proc/x', '--export_dir=/proc/x cannot be written to'),
    ('--mode=sample --model=digits --workdir=/proc/x', '--workdir=/proc/x cannot be written to'),
    ('--mode=sample --model=digits --labels=11', '--labels=11 must be from 0 to 9'),
    ('--mode=compose --model=digits --labels=3,11', '--labels=11 must be from 0 to 9'),
    ('--mode=sample --model=digits,digits', 'two models are for --mode=compose with --expression alone'),
    ('--mode=compose --model=digits,digits,digits --expression=a&b', 'must name one model, or two'),
    ('--mode=compose --model=digits --expression=a&b', 'a and b stand for two models: give both'),
    ('--mode=compose --model=digits,digits --expression=3|8', 'only one of the two models'),
    ('--mode=compose --model=digits,digits --expression=a3|b11', 'there is no class 11'),
    ('--mode=compose --model=digits --expression=3&8 --data_dir=a', 'is for an --expression of classes'),
    ('--mode=compose --model=digits --labels_file=a', 'is for an --expression of classes with | (or)'),
    ('--mode=compose --model=digits,digits --expression=a|b --data_dir=a', '--data_dir=a is for an'),
    ('--mode=sample --model=digits --output_dir=o --workdir=run', '--workdir=run holds a run of its own'),
    ('--mode=inpaint --model=digits --inception=missing', '--inception=missing must be the directory of'),
    ('--mode=inpaint --model=digits --mcmc_steps=5', '--mcmc_steps=5 is not for --mode=inpaint'),
    ('--mode=restore --model=digits --noise_scale=1', '--noise_scale=1.0 is not for --mode=restore'),
    ('--mode=inpaint --model=digits --sampling_levels=3', '--sampling_levels=3 is not for --mode=inpaint'),
    ('--mode=compose --model=digits --expression=3|8 --noise_scale=1', '--noise_scale=1.0 is not for mix'),
    ('--mode=likelihood --model=digits --mcmc_steps=5', '--mcmc_steps=5 is for annealing'),
    ('--mode=likelihood --model=digits --ais_steps=9', '--ais_steps=9 is for annealing: give --method=ais'),
    ('--mode=compose --model=digits,missing --expression=a&b', '--model=missing must be one of'),
    (
        '--mode=compose --model=digits,toy_checkerboard --expression=a&b',
        'two models must have one image shape',
    ),
    ('--dataset=folder --data_dir=missing', '--data_dir=missing is not there'),
    ('--mode=evaluate --model=digits --extractor=zebra', '--extractor=zebra must be one of'),
    ('--mode=evaluate --model=digits --inception=missing', '--inception=missing must be'),
    ('--mode=evaluate --model=digits --stats_file=missing', '--stats_file=missing is not there'),
    ('--mode=evaluate --dataset=digits --samples=missing', '--samples=missing is not there'),
    ('--mode=long_run --model=digits --chain_levels=99', '--chain_levels=99 must be from 0'),
    ('--init_from=missing', '--init_from=missing must be'),
    ('--init_from=run', '--init_from=run holds no checkpoint'),
    ('--mode=ood --model=digits --background=run', '--background=run holds no checkpoint'),
    (
        '--mode=import_official --official_checkpoint=missing --workdir=run',
        '--workdir=run holds a run: give another for --official_checkpoint=missing',
    ),
    ('--mode=sample --model=toy_checkerboard --save_images', '--save_images needs images'),
    (
        '--mode=train,sample --dataset=toy_checkerboard --save_images',
        '--save_images needs images, and --dataset=toy_checkerboard has points',
    ),
    ('--mode=prepare --dataset=digits --output_dir=run', '--output_dir=run exists: give a new directory'),
    ('--mode=prepare --dataset=digits --output_dir=FILE', '--output_dir=FILE exists: give a new directory'),
    ('--mode=prepare --dataset=digits --output_dir=gs://a', '--output_dir=gs://a must be a path on this'),
    ('--mode=stats --dataset=digits --stats_file=run', '--stats_file=run is a directory: give a file'),
    ('--mode=stats --dataset=digits --stats_file=FILE/a', '--stats_file=FILE cannot be written to'),
    ('--mode=stats --dataset=digits', 'statistics cannot be written to (Not a directory)'),
]  # fmt: skip


def test_what_options_and_paths_tell_is_refused_without_tensorflow(tmp_path):
    (tmp_path / 'run').mkdir()
    present = {'file', 'statistics', 'run', 'run/config.json'}
    for name in present - {'run'}:
        (tmp_path / name).touch()
    lines = '\n'.join(line for line, _ in REFUSED).replace('FILE', f'{tmp_path}/file')
    done = subprocess.run(
        [sys.executable, '-c', WITHOUT_TENSORFLOW],
        input=lines,
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for said, (_, words) in zip(done.stderr.splitlines(), REFUSED, strict=True):
        assert words.replace('FILE', f'{tmp_path}/file') in said
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*')} == present


def test_checks_do_not_write(tmp_path):
    """The checks of a command with --model write nothing and do not create its workdir."""
    workdir = tmp_path / 'new' / 'w'
    argv = ['run.py', '--mode=sample,export', '--model=digits', f'--workdir={workdir}']
    values = parsing.parse(argv)
    command = parsing.group_of(Command, values)
    config, _ = parsing.resolve(command, values, argv)
    checks.check_configuration(command, config, str(workdir))
    checks.check_work(command, config)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--mode=sample', '--train_steps=5', '--microbatches=4'], '--train_steps is for --mode=train'),
    (['--mode=sample,evaluate', '--log_every=5'], '--log_every is for'),
    (['--mode=stats', '--weights=raw'], '--weights is for'),
    (['--mode=stats', '--channels=8'], '--channels is for'),
    (['--mode=sweep_steps', '--mcmc_steps=5'], '--mcmc_steps is for'),
    (['--mode=long_run', '--mcmc_steps=5'], '--mcmc_steps is for'),
    (['--mode=long_run', '--noise_scale=0.5'], '--noise_scale is for'),
    (['--mode=long_run', '--step_scale=2'], '--step_scale is for'),
    (['--mode=export', '--precision=bfloat16'], '--precision is for'),
    (['--mode=evaluate', '--samples=x.npz', '--weights=raw', '--seed=3'], 'drop --weights, --seed'),
    (['--weights=raw'], '--weights=raw is for training with --init_from'),
    (['--steps=5'], 'unknown option --steps, did you mean --train_steps?'),
    (['--epochs=5'], 'did you mean --train_steps?'),
    (['--lr', '5'], 'did you mean --learning_rate?'),
    (['--gpu'], 'did you mean --strategy?'),
    (['--label=3'], 'did you mean --labels?'),
    (['--class=3'], 'did you mean --labels?'),
    (['--num-levels=5'], 'did you mean --num_levels?'),
    (['--btach_size=5'], 'did you mean --batch_size?'),
    (['--zebra'], 'unknown option --zebra: see --help'),
    (['--dataset=MNIST'], 'did you mean mnist?'),
    (['--mode=sample', '--model=digits', '--labels=3,x'], '--labels=3,x must be whole numbers'),
    (['--init_from='], '--init_from= must be a run or an exported model'),
    (['--mode=ood', '--model=digits', '--background='], '--background= must be a run or an exported model'),
    (['--mode=report', '--workdir=run', '--compare='], '--compare= must be directories of runs'),
])  # fmt: skip
def test_options_that_are_not_read_or_not_known(capsys, arguments, words):
    assert words in refused(capsys, *arguments)


@pytest.mark.parametrize(
    'words',
    [
        '--mode=inpaint --method=replace --mcmc_steps=5',
        '--mode=sample,inpaint --mcmc_steps=5',
        '--mode=compose --expression=3|8 --sampling_levels=3',
        '--mode=compose --expression=3&8 --noise_scale=1',
        '--mode=likelihood --method=ais --mcmc_steps=5 --ais_steps=9',
        '--mode=restore',
    ],
)
def test_options_of_sampling_are_read_where_they_have_an_effect(words):
    """The options of the stored configuration are never refused: only what is given is looked at."""
    argv = ['run.py', *words.split(), '--model=digits']
    values = parsing.parse(argv)
    command = parsing.group_of(Command, values)
    given = {name: values[name].value for name in values if values[name].present}
    checks.check_given(command, parsing.resolve(command, values, argv)[0], given)


def test_data_of_a_mixture_are_checked_before_work(capsys, tmp_path):
    """A mixture of classes reads training images, also those of the second model and of the app."""
    mine = config.Config().replace(
        dataset='folder', image_size=8, image_channels=3, num_classes=2, channel_mult=(1,),
        energy='preconditioned', objective='score_matching', proposal='tweedie', mcmc_steps=(0,),
        act='swish', final_act='swish', spectral_norm=False,
    )  # fmt: skip
    mine.save(tmp_path / 'run')
    options = [f'--workdir={tmp_path}/run', f'--data_dir={tmp_path}/missing']
    for words in (['--mode=compose', '--expression=0 | 1'], ['--mode=app']):
        line = refused(capsys, *words, *options)
        assert f'--data_dir={tmp_path}/missing is not there' in line
    assert pairs.data_of_classes('0 | 1', mine) == [mine.data]
    found = pairs.data_of_classes('a | b1', mine.replace(data_dir='there'), pairs.exported.find('digits'))
    assert [(data.dataset, data.data_dir) for data in found] == [('digits', '')]


def test_batch_normalisation_is_refused_on_several_devices(capsys, monkeypatch, tmp_path):
    batch = [*TINY, '--norm=batch', '--dry_run']
    assert '--norm=batch' in refused(capsys, *batch, '--dry_run_devices=2')
    config = parsing.configuration_of([*TINY, '--norm=batch'])
    combinations.check_replicas(config, 1)
    with pytest.raises(UserError, match='2 devices'):
        combinations.check_replicas(config, 2)
    combinations.check_replicas(config.replace(norm='none'), 2)
    monkeypatch.setattr(devices, 'strategy', lambda: types.SimpleNamespace(num_replicas_in_sync=2))
    with pytest.raises(UserError, match='2 devices'):
        train(config, str(tmp_path / 'run'))


@pytest.mark.parametrize(
    ('mode', 'words'),
    [(('train',), '2 devices'), (('train', 'evaluate'), '2 devices'), (('evaluate',), ''), (('stats',), '')],
)
def test_batch_normalisation_is_checked_unless_samples_alone_are_scored(monkeypatch, mode, words):
    """The check refuses --norm=batch on two devices whenever the command trains."""
    two = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(devices, 'strategy', lambda: two)
    monkeypatch.setattr(evaluator, 'check_scored', lambda *_: None)
    monkeypatch.setattr(evaluate, 'check_samples', lambda *_: None)
    command = Command(mode=mode, samples='x.npz' if 'evaluate' in mode else '')
    config = parsing.configuration_of([*TINY, '--norm=batch'])
    with pytest.raises(UserError, match=words) if words else contextlib.nullcontext():
        checks.check_work(command, config)


def test_what_tensorflow_writes_is_shown_where_its_import_fails(tmp_path):
    (tmp_path / 'tensorflow.py').write_text("import os; os.write(2, b'why'); raise ImportError('no')")
    path = f"import sys; sys.path.insert(0, '{tmp_path}')"
    done = run('-c', f'{path}; from drl_tf.cli.quiet import quiet_start; quiet_start()')
    assert done.returncode == 1 and done.stderr.startswith('why') and 'ImportError: no' in done.stderr


@pytest.mark.parametrize(
    ('before', 'collecting', 'after'),
    [
        ('', False, 'gc.isenabled() and gc.get_freeze_count() > 1000'),
        ('gc.disable()', False, 'not gc.isenabled() and not gc.get_freeze_count()'),
        ('import tensorflow', True, 'gc.isenabled() and not gc.get_freeze_count()'),
    ],
)
def test_garbage_collections_skip_the_modules_of_tensorflow(tmp_path, before, collecting, after):
    """Unless it is imported already, or the caller has switched collections off."""
    (tmp_path / 'tensorflow.py').write_text(
        f'import gc; assert gc.isenabled() == {collecting}\nclass config: list_physical_devices = list'
    )
    code = f"""
import gc, sys
sys.path.insert(0, {str(tmp_path)!r})
from drl_tf.cli.quiet import quiet_start
{before}
quiet_start()
assert {after}
frozen = gc.get_freeze_count()
quiet_start()
assert gc.get_freeze_count() <= frozen
"""
    done = run('-c', code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('option', ['--help', '--version'])
def test_a_reader_that_leaves_early_is_no_error(option):
    """It has left before the program starts. 141 is the exit code of a shell's command that SIGPIPE ended."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, 'run.py', option]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, '')


def test_an_export_goes_into_the_workdir_by_default():
    assert export_directory(Command(mode=('export',)), 'runs/x') == os.path.join('runs/x', 'saved_model')
    assert export_directory(Command(mode=('export',), export_dir='there'), 'runs/x') == 'there'


@pytest.mark.parametrize(
    ('mode', 'or_model'), [('sample', True), ('report', False), ('sample,report', False)]
)
def test_model_is_named_where_all_modes_take_it(capsys, mode, or_model):
    line = refused(capsys, f'--mode={mode}')
    assert line.endswith('the directory of a trained run' + ', or --model' * or_model)


def test_the_best_checkpoint_has_no_other_step(capsys):
    options = ['--mode=sample', '--workdir=runs/x', '--best', '--checkpoint_step=3']
    assert '--best and --checkpoint_step=3: drop one of them' in refused(capsys, *options)


def test_dry_run_is_a_switch_too(capsys):
    assert 'must be one of text, json' in refused(capsys, '--dataset=digits', '--dry_run=yaml')
    assert parsing.parse(['run.py', '--dry_run=true']).dry_run == 'text'
