"""Training on the user's own pictures: how many steps, and a warning where the pictures are few."""

import numpy as np
import pytest
from helpers.tiny import TINY_NETWORK, call, refused
from PIL import Image

from drl_tf.cli import parsing, run_modes
from drl_tf.config import config as configuration
from drl_tf.data import indexed, pipeline
from drl_tf.training import measured_options

# Saved and stopped after the first steps; a picture a step, so that few pictures ask for many steps.
OPTIONS = [
    '--dataset=folder', *TINY_NETWORK, '--image_size=8', '--batch_size=1', '--max_minutes=1e-6',
    '--grid_every=0', '--precision=float32',
]  # fmt: skip


def draw(directory, count):
    """Writes pictures of random colours, `count` in all."""
    indexed.forget()
    directory.mkdir(exist_ok=True)
    for index in range(count):
        colour = tuple(np.random.default_rng(index).integers(0, 256, 3).tolist())
        Image.new('RGB', (10, 8), colour).save(directory / f'{index:03}.png')


def steps_of(workdir):
    training = configuration.load(workdir).training
    return training.train_steps, training.decay_steps


@pytest.mark.parametrize(
    ('pictures', 'batch', 'steps'),
    [(1, 24, 2_000), (360, 24, 3_000), (1_200, 24, 10_000), (1_200, 120, 2_000), (50_000, 24, 20_000)],
)
def test_the_number_of_pictures_gives_the_number_of_steps(monkeypatch, tmp_path, pictures, batch, steps):
    """200 times each, in 2,000 to 20,000 steps, by thousands; the learning rate falls until the last."""
    monkeypatch.setattr(pipeline, 'count_images', lambda data, split: pictures)
    config = parsing.configuration_of(['--dataset=folder', f'--batch_size={batch}'])
    chosen = measured_options.steps_for_pictures(config, str(tmp_path))
    training = config.replace(**chosen).training
    assert (training.train_steps, training.decay_steps) == (steps, steps)
    assert measured_options.steps_for_pictures(config.replace(train_steps=7), str(tmp_path)) == {}
    assert (
        measured_options.steps_for_pictures(config.replace(decay_steps=9), str(tmp_path))['decay_steps'] == 9
    )


@pytest.mark.parametrize(('pictures', 'few'), [(499, True), (500, False)])
def test_few_pictures_are_warned_of(monkeypatch, caplog, tmp_path, pictures, few):
    monkeypatch.setattr(pipeline, 'count_images', lambda data, split: pictures)
    measured_options.steps_for_pictures(parsing.configuration_of(['--dataset=folder']), str(tmp_path))
    assert ('Only 499 pictures to train on: the model will learn copies' in caplog.text) == few


def test_a_run_keeps_its_number_of_steps_when_pictures_are_added(capsys, tmp_path):
    """The number is stored with the run, which keeps it when it resumes; a new run counts anew."""
    command = [*OPTIONS, f'--data_dir={tmp_path}/pictures', f'--workdir={tmp_path}/w']
    draw(tmp_path / 'pictures', 6)
    code, out, err = call(capsys, *command)
    assert code == 0 and '2,000 steps for 5 pictures; others: --train_steps=N --decay_steps=N' in out, err
    assert steps_of(tmp_path / 'w') == (2_000, 2_000)
    draw(tmp_path / 'pictures', 20)
    code, out, err = call(capsys, *command)
    assert code == 0 and 'resuming at step' in out and 'steps for' not in out and 'changed' not in out, err
    assert steps_of(tmp_path / 'w') == (2_000, 2_000)
    code, out, err = call(capsys, *command, '--restart')
    assert code == 0 and '4,000 steps for 19 pictures' in out, err
    assert steps_of(tmp_path / 'w') == (4_000, 4_000)


def test_the_modes_after_training_know_the_number_of_steps(tmp_path):
    config = parsing.configuration_of(['--dataset=folder'])
    stored = config.replace(data_mean=(0.1, 0.2, 0.3), data_std=0.4, train_steps=2_000, decay_steps=3_000)
    stored.save(tmp_path)
    assert run_modes.as_trained(config, str(tmp_path)) == stored


def test_points_cannot_be_counted_nor_can_an_ablation_count(capsys, tmp_path):
    assert '--train_steps=0 counts pictures: give a number of steps' in refused(
        capsys, '--dataset=toy_checkerboard', '--train_steps=0', f'--workdir={tmp_path}/w'
    )
    (tmp_path / 'pictures').mkdir()
    ablation = ['--mode=ablate', '--dataset=folder', f'--data_dir={tmp_path}/pictures']
    assert 'give --train_steps=N' in refused(capsys, *ablation, f'--workdir={tmp_path}/w')
