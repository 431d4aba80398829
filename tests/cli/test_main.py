"""The command line: help, modes, and one clear line for wrong use."""

import json

import numpy as np
import pytest
from helpers.tiny import TINY, call, refused, run, sampled
from PIL import Image

import drl_tf
from drl_tf.cli import parsing
from drl_tf.cli.command_options import Command
from drl_tf.config import config as configuration


def test_help_documents_every_option(capsys):
    code, out, _ = call(capsys, '--help')
    assert code == 0
    for field, _ in configuration.Config().options():
        assert f'--{field.name} ' in out and field.metadata['help'] in out
    assert '--num_levels  (whole number, 1 to 999; default 6)' in out


def test_help_samples_from_the_run_that_its_first_command_trains(capsys):
    argv = ['run.py', '--dataset=digits']
    values = parsing.parse(argv)
    workdir = parsing.resolve(parsing.group_of(Command, values), values, argv)[1]
    assert f'python run.py --mode=sample --workdir={workdir}\n' in call(capsys, '--help')[1]


def test_version(capsys):
    assert call(capsys, '-h') == call(capsys, '--help')
    assert call(capsys, '--version')[:2] == (0, f'drl_tf {drl_tf.__version__}\n')


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--dataset=lsun_chruch'], ['lsun_chruch', 'lsun_church']),
    (['--chanels=3'], ['chanels']),
    (['--image_size=15'], ['image_size', '15']),
    (['--image_size=20'], ['image_size', '20']),
    (['--channel_mult=1,x'], ['channel_mult', '1,x']),
    (['--channel_mult='], ['channel_mult']),
    (['--mcmc_steps=5,4'], ['mcmc_steps=5,4', 'num_levels=6']),
    (['--batch_size=0'], ['batch_size=0', 'at least 1']),
    (['--batch_size=many'], ['batch_size', 'many']),
    (['--learning_rate=nan'], ['learning_rate']),
    (['--num_levels=1000'], ['num_levels=1000', '999']),
    (['--recipe=t6', '--num_levels=501'], ['num_levels=501', '500']),
    (['--recipe=t6', '--sigma_max=5'], ['--sigma_max=5', '--schedule=karras', 't6']),
    (['--sigma_min=13'], ['--sigma_min=13', '--sigma_max=12.8']),
    (['--mode=sample', '--model=digits', '--sigma_max=20'], ['--sigma_max=20', '0.0074 to 12.8']),
    (['--act=tanh'], ['act=tanh', 'lrelu']),
    (['--mode=dream'], ['mode=dream', 'sample']),
    (['--mode='], ['mode']),
    (['--mode=sample'], ['--workdir']),
    (['train'], ['train']),
    (['--flagfile=/no/such/file'], ['/no/such/file']),
    (['--mode=sample', '--workdir=/no/such/run'], ['/no/such/run']),
    (['--dataset=folder'], ['--data_dir']),
    (['--dataset=folder', '--data_dir=/no/such/folder'], ['/no/such/folder']),
    (['--dataset=celeb_a_hq', '--image_size=100'], ['image_size=100']),
    (['--guidance=1', '--num_classes=0'], ['guidance', 'no classes']),
    (['--nodry_run=3'], ['nodry_run']),
    (['--labels=3'], ['--labels', 'sample']),
    (['--checkpoint_step=3'], ['--checkpoint_step', 'train']),
    ([*TINY, '--init_from=/no/such/run'], ['--init_from=/no/such/run']),
    (['--norm=group', '--channels=8'], ['channels=8', '32']),
])  # fmt: skip
def test_wrong_use(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, *arguments)
    assert all(word in line for word in words), line


def test_a_tilde_is_the_home_directory(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    words = '--workdir=~/w --data_dir=~ --model=~/a,~/b --compare=~/c,d --dataset=npz:~/e --ood=folder:~/f'
    values = parsing.parse(['run.py', *words.split(), '--input=~me/x', '--output_dir=a~/b'])
    assert (values.workdir, values.data_dir) == ('/home/me/w', '/home/me')
    assert (values.model, values.compare) == ('/home/me/a,/home/me/b', ['/home/me/c', 'd'])
    assert (values.dataset, values.ood) == ('npz:/home/me/e', ['folder:/home/me/f'])
    assert (values.input, values.output_dir) == ('~me/x', 'a~/b')


def test_a_tilde_leads_to_pictures_of_the_home_directory(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    line = refused(capsys, '--mode=score', '--model=digits', '--input=~/x.png')
    assert f'--input={tmp_path}/x.png' in line


def test_empty_folder(capsys, tmp_path):
    (tmp_path / 'pictures').mkdir()
    assert str(tmp_path / 'pictures') in refused(
        capsys, '--dataset=folder', f'--data_dir={tmp_path}/pictures', f'--workdir={tmp_path}/w'
    )


def test_dataset_that_is_not_there(capsys, tmp_path):
    for dataset in ('lsun_church', 'lsun_bedroom'):
        assert 'lsun' in refused(
            capsys, *TINY, f'--dataset={dataset}', f'--data_dir={tmp_path}', f'--workdir={tmp_path}/w'
        )


def test_workdir_of_another_run(capsys, tiny_run):
    line = refused(capsys, *TINY, f'--workdir={tiny_run}', '--channels=16')
    assert '--channels=16 here, 8 there' in line
    assert '--channels=16' in refused(capsys, '--mode=sample', f'--workdir={tiny_run}', '--channels=16')
    assert '--init_from' in refused(
        capsys, *TINY, f'--init_from={tiny_run}', '--channels=16', f'--workdir={tiny_run}-new'
    )


def test_the_run_leaves_what_it_promises(tiny_run):
    assert sorted(path.name for path in (tiny_run / 'checkpoints').iterdir()) == [
        '00000016',
        '00000024',
        '00000032',
    ]
    grids = {f'{step:08d}.png' for step in range(33)} & {
        path.name for path in (tiny_run / 'samples').iterdir()
    }
    assert grids == {'00000008.png', '00000016.png'}
    assert Image.open(tiny_run / 'samples' / 'data.png').size == (640, 640)
    lines = [json.loads(line) for line in (tiny_run / 'metrics.jsonl').read_text().splitlines()]
    assert [line['step'] for line in lines] == [8, 16, 24, 32]
    for name in ('loss', 'f_pos', 'f_neg', 'displacement', 'gradient_norm'):
        assert all(len(line[f'level_{name}']) == 6 for line in lines)
    assert list((tiny_run / 'tensorboard').iterdir())


def test_sampling_mode(capsys, tiny_run):
    """The same seed gives the same images, in batches of any size and from any first image on; K, noise,
    weights and precision are as asked, and have a directory of their own."""

    def sample(*arguments):
        return sampled(capsys, tiny_run, '--mode=sample', '--num_samples=20', *arguments)

    images, directory = sample()
    assert images.shape == (20, 16, 16, 1)
    later, _ = sample('--num_samples=4', '--first_sample=14', '--sample_batch_size=3')
    assert np.abs(images[14:18] - later).max() <= 1
    directories = {directory}
    for other in (
        ['--seed=5'],
        ['--mcmc_steps=6'],
        ['--noise_scale=0'],
        ['--weights=raw'],
        ['--checkpoint_step=16'],
        ['--precision=bfloat16'],
    ):
        found, directory = sample(*other)
        directories.add(directory)
        assert np.abs(images - found).max() > 1, other
    assert len(directories) == 7 and all(list(each.glob('*.npz')) for each in directories)
    grid = Image.open(tiny_run / 'samples' / '00000032-ema-20-seed0.png')
    assert grid.size == (5 * 16 * 7, 4 * 16 * 7)


def test_samples_that_are_not_finite_are_refused(capsys, tiny_run):
    broken = ['--step_scale=100', '--noise_scale=2', '--mcmc_steps=60', '--num_samples=4']
    assert 'not finite' in refused(capsys, '--mode=sample', f'--workdir={tiny_run}', *broken)
    assert not list((tiny_run / 'samples').glob('*step_scale*.png')) + list(
        (tiny_run / 'samples').glob('*step_scale*/*.npz')
    )


def test_wrong_modes_are_found_before_any_work(capsys, tmp_path):
    Image.new('RGB', (20, 20)).save(tmp_path / 'a.png')
    arguments = [
        '--dataset=folder',
        f'--data_dir={tmp_path}',
        '--mode=train,evaluate',
        f'--workdir={tmp_path}/w',
    ]
    assert 'takes grey images' in refused(capsys, *arguments, '--extractor=digits_classifier')
    classes = [*TINY, '--num_classes=-1', f'--workdir={tmp_path}/w']
    assert 'from 0 to 9' in refused(capsys, *classes, '--mode=train,sample', '--labels=10')
    assert 'from 0 to 9' in refused(capsys, *classes, '--mode=train,compose', '--labels=3,10')
    assert 'at least 2' in refused(capsys, *classes, '--mode=train,evaluate', '--num_samples=1')
    assert 'has no classes' in refused(
        capsys, *TINY, f'--workdir={tmp_path}/w', '--mode=train,sweep_guidance'
    )
    assert '--guidance is for' in refused(capsys, '--mode=compose', f'--workdir={tmp_path}/w', '--guidance=2')
    assert not (tmp_path / 'w').exists()


@pytest.mark.parametrize(('arguments', 'word'), [
    (['--mode=sample', '--labels=10'], '--labels=10 must be from 0 to 9'),
    (['--mode=compose', '--labels=3,10'], '--labels=10 must be from 0 to 9'),
    (['--mode=compose', '--labels=3,4,5', '--label_weights=1,2'], 'label_weights'),
])  # fmt: skip
def test_wrong_classes(run_dir, capsys, arguments, word):
    assert word in refused(capsys, f'--workdir={run_dir}', *arguments)


def test_models_without_classes_say_so(tiny_run, capsys):
    for arguments in (['--mode=sample', '--labels=1'], ['--mode=compose'], ['--mode=sweep_guidance']):
        assert 'has no classes' in refused(capsys, f'--workdir={tiny_run}', *arguments)
    assert 'no classes' in refused(capsys, '--dataset=lsun_church', '--num_classes=-1', '--dry_run')


def test_init_from(capsys, tiny_run, tmp_path):
    """A new run starts at another's weights: without a step it samples the same images."""
    new = tmp_path / 'new'
    arguments = [
        *TINY,
        f'--workdir={new}',
        f'--init_from={tiny_run}',
        '--learning_rate=1e-8',
        '--train_steps=1',
    ]
    code, out, err = call(capsys, *arguments)
    assert code == 0 and 'starting from the ema weights' in out, err
    assert json.loads((new / 'start.json').read_text()) == {
        'init_from': tiny_run.name,
        'weights': 'ema',
        'step': 32,
        'dataset': 'digits',
        'recipe': 't6',
        'imported': False,
    }
    images = [
        sampled(capsys, workdir, '--mode=sample', '--num_samples=4', '--seed=3')[0]
        for workdir in (tiny_run, new)
    ]
    assert np.abs(images[0] - images[1]).mean() < 0.1


LEAVES_GARBAGE = """
import sys
from drl_tf.cli.main import main

class Garbage:
    def __del__(self):
        print('collected')

garbage = Garbage()
garbage.itself = garbage
main(['run.py', '--version'])
print('end', end='')
sys.exit(3)
"""


def test_the_process_ends_without_a_last_garbage_collection():
    """The process skips the last collection, which takes seconds with TensorFlow's graphs. It still prints
    everything and keeps the exit code."""
    done = run('-c', LEAVES_GARBAGE)
    assert done.returncode == 3 and done.stdout == f'drl_tf {drl_tf.__version__}\nend'
