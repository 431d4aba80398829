"""A class-conditional cooperative model through the command line: train, sample, compose, sweep."""

import csv

import numpy as np
import pytest
from helpers.tiny import TINY, sampled

from drl_tf.cli.main import main
from drl_tf.config import config
from drl_tf.data import digits, pipeline
from drl_tf.experiments import sweep
from drl_tf.runs import pictures
from drl_tf.runs.request import SampleRequest

SMALL = [
    *TINY, '--recipe=cdrl', '--num_levels=2', '--num_classes=-1', '--mcmc_steps=2',
    '--initializer_channels=8',
    '--initializer_mult=1', '--initializer_blocks=1', '--noinitializer_attention', '--sample_batch_size=20',
    '--learning_rate=1e-2',
    '--max_loss=1000',
]  # fmt: skip


def call(*arguments):
    assert main(['run.py', *map(str, arguments)]) == 0


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp('runs') / 'classes'
    call(*SMALL, f'--workdir={path}', '--train_steps=4')
    return path


def sample(capsys, workdir, *arguments):
    return sampled(capsys, workdir, '--mode=sample', '--num_samples=20', *arguments)[0]


def test_labels_go_with_their_images():
    data = config.Data(num_classes=10)
    images, labels = next(pipeline.training_images(data, 50, seed=3).as_numpy_iterator())
    known = {image.tobytes(): label for image, label in zip(*digits.load('train'), strict=True)}
    pixels = np.round((images + 1) * 127.5).astype(np.uint8)
    assert [known[image.tobytes()] + 1 for image in pixels] == labels.tolist()


def test_classes_take_turns_or_are_one():
    assert SampleRequest(4, first=2).classes(3).tolist() == [2, 0, 1, 2]
    assert SampleRequest(2, labels=(1,)).classes(3).tolist() == [1, 1]
    assert SampleRequest(3, first=1, labels=(2, 0)).classes(3).tolist() == [0, 2, 0]


def test_grids_have_sensible_shapes_and_say_the_classes():
    """Ten images are two rows, sixteen a square, also where there are ten classes."""
    for count, shape in ((10, (2, 5)), (16, (4, 4)), (7, (3, 3)), (1, (1, 1))):
        images = np.zeros([count, 2, 2, 1], np.uint8)
        assert pictures.grid(images, 10).shape[:2] == pictures.grid(images).shape[:2] == shape
    assert pictures.class_captions(np.arange(3), 10) == {'captions': [['0', '1', '2']]}
    assert pictures.class_captions(np.arange(6) % 3, 3) == {'side': ['0', '1', '2']}


def test_a_row_of_the_grid_is_a_class():
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    assert pictures.grid(images, 3)[..., 0, 0, 0].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert pictures.grid(images)[..., 0, 0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    more = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    assert pictures.grid(more, 3)[..., 0, 0, 0].tolist() == [[0, 3, 6], [1, 4, 0], [2, 5, 0]]


@pytest.mark.slow
def test_sampling_by_class(workdir, capsys):
    """Image i of class c is the same whether all classes take turns, c is asked for, or it is composed of c
    alone; guidance and a second class change it."""
    options = [], ['--labels=3'], ['--labels=3', '--guidance=3']
    turns, threes, guided_threes = (sample(capsys, workdir, *arguments) for arguments in options)
    assert np.abs(turns[3::10] - threes[3::10]).max() <= 1
    assert np.abs(turns[4::10] - threes[4::10]).max() > 1
    assert np.abs(threes - guided_threes).max() > 1
    composed, _ = sampled(capsys, workdir, '--mode=compose', '--num_samples=20', '--labels=3')
    assert np.abs(composed - threes).max() <= 1
    other, directory = sampled(capsys, workdir, '--mode=compose', '--num_samples=20', '--labels=3,8')
    assert directory.name.endswith('compose3-8')
    assert np.abs(composed - other).max() > 1


@pytest.mark.parametrize(('arguments', 'word'), [
    (['--mode=sample', '--labels=10'], '10'),
    (['--mode=compose', '--labels=3,10'], '10'),
    (['--mode=compose', '--labels=3,4,5', '--label_weights=1,2'], 'label_weights'),
])  # fmt: skip
def test_wrong_classes(workdir, capsys, arguments, word):
    assert main(['run.py', f'--workdir={workdir}', *arguments]) == 2
    assert word in capsys.readouterr().err


def test_models_without_classes_say_so(tiny_run, capsys):
    for arguments in (['--mode=sample', '--labels=1'], ['--mode=compose'], ['--mode=sweep_guidance']):
        assert main(['run.py', f'--workdir={tiny_run}', *arguments]) == 2
        assert 'has no classes' in capsys.readouterr().err
    assert main(['run.py', '--dataset=lsun_church', '--num_classes=-1', '--dry_run']) == 2
    assert 'no classes' in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(('mode', 'name', 'values', 'num_real'), [
    ('sweep_guidance', 'guidance', [0, 0.5, 1, 2, 3], 0),
    ('sweep_steps', 'evaluations', [18, 30, 48, 90, 180], 500),
])  # fmt: skip
def test_sweeps(workdir, monkeypatch, mode, name, values, num_real):
    """Of the values that are swept, the first and the last are tried here."""
    assert list(getattr(sweep, name.upper())) == values
    values = [values[0], values[-1]]
    monkeypatch.setattr(sweep, name.upper(), values)
    call(f'--mode={mode}', f'--workdir={workdir}', '--num_samples=20', f'--num_real={num_real}')
    root = workdir / mode / '00000004-ema-20-seed0'
    with open(root / 'scores.csv', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [float(row[name]) for row in rows] == values
    assert all(
        float(row['frechet_distance_digits_classifier']) > 1 and 0 <= float(row['class_agreement']) <= 1
        for row in rows
    )
    if name == 'evaluations':
        assert all(int(row['mcmc_steps']) * float(row['step_scale']) ** 2 == pytest.approx(2) for row in rows)
    assert (root / 'scores.png').stat().st_size > 1000 and len(list(root.glob('*.png'))) == 3
