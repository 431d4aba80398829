"""Energies against closed forms, and states against the images that `--mode=sample` draws."""

import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from helpers.small_models import PRECONDITIONED
from helpers.tiny import TINY, call, refused

from drl_tf.cli.parsing import configuration_of
from drl_tf.config import config as configuration
from drl_tf.core import diffusion
from drl_tf.core.energy_model import EnergyModel
from drl_tf.data import pipeline
from drl_tf.report import measured, measuring
from drl_tf.runs import samples


def standard_normal(level, terms=None):
    return lambda y: -tf.reduce_sum(y**2, axis=[1, 2, 3]) / 2


def stub(config):
    """A model whose density is standard normal at every level."""
    return types.SimpleNamespace(
        schedule=diffusion.t6(), config=config, density_at=standard_normal, walk=diffusion.t6()
    )


def test_energies_of_diffused_images_have_the_mean_of_a_gaussian():
    """E = m^2 |A x + S eps|^2 / 2, whose mean is m^2 (A^2 |x|^2 + S^2 D) / 2."""
    model = stub(configuration_of(TINY))
    energies = measuring.energy_function(model)
    levels = np.arange(6)
    images = pipeline.load_images(model.config.data, 'test', 400).astype(float) / 127.5 - 1
    found = measuring.diffused_energies(model, energies, levels, 'test', 400)
    squares = np.square(images).sum(axis=(1, 2, 3)).mean()
    schedule = model.schedule
    expected = schedule.m**2 * (schedule.A[:-1] ** 2 * squares + schedule.S[:-1] ** 2 * 256) / 2
    np.testing.assert_allclose(found.mean(axis=1), expected, rtol=0.01)


def test_the_noise_differs_between_splits_and_levels_and_not_between_counts():
    model = stub(configuration_of(TINY))
    energies = measuring.energy_function(model)
    few = measuring.diffused_energies(model, energies, np.array([5]), 'test', 3)
    many = measuring.diffused_energies(model, energies, np.array([4, 5]), 'test', 20)
    np.testing.assert_allclose(few[0], many[1, :3], rtol=1e-5)
    assert len(np.unique(many[1].round(3))) == 20


def test_white_noise_has_the_energy_of_a_gaussian():
    energies = measuring.energy_function(stub(configuration_of(TINY)))
    x = tf.random.stateless_normal([3, 16, 16, 1], [0, 0])
    np.testing.assert_allclose(energies(x, 6, None), np.square(x).sum((1, 2, 3)) / 2, rtol=1e-6)


def test_log_densities_have_an_energy_at_the_top():
    """Before training, it is that of Gaussian data of mean 0 and deviation 0.5."""
    model = EnergyModel(PRECONDITIONED)
    x = tf.random.stateless_normal([3, 8, 8, 1], [0, 0])
    variance = (0.5 * model.schedule.A[-1]) ** 2 + model.schedule.S[-1] ** 2
    expected = (np.square(x) / variance + np.log(2 * np.pi * variance)).sum((1, 2, 3)) / 2
    np.testing.assert_allclose(measuring.energy_function(model)(x, 6, np.full(3, -1)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ('strided', 'num_states', 'expected'),
    [(0, 9, [999, 874, 749, 624, 500, 375, 250, 125, 0]), (3, 4, [999, 666, 333, 0])],
)
def test_states_know_their_noise_levels(strided, num_states, expected):
    schedule = diffusion.t1k()
    model = types.SimpleNamespace(schedule=schedule, walk=schedule.strided(strided))
    assert measuring.levels_of_states(model, num_states).tolist() == expected


def test_points_of_the_two_splits_differ_and_come_from_the_same_set():
    config = configuration_of(['--dataset=toy_two_moons'])
    (train, _), (held_out, labels) = (
        measuring.real_images(config, split, 500) for split in ('train', 'test')
    )
    assert train.shape == held_out.shape == (500, 1, 1, 2) and not np.isin(train, held_out).any()
    np.testing.assert_allclose(train.std(), held_out.std(), rtol=0.1)
    assert not labels.any()


def test_large_states_are_reduced():
    ramp = np.linspace(-1, 1, 256, dtype=np.float32)
    state = np.broadcast_to(ramp[:, None, None], (2, 256, 256, 1))
    found = measuring.small_pictures([state, -state])
    assert found.shape == (2, 2, 128, 128, 1) and found.dtype == np.uint8
    np.testing.assert_allclose(found[0, 0, :, 0, 0], (ramp[::2] + ramp[1::2] + 2) / 4 * 255, atol=1)
    for height, width, expected in ((256, 64, (128, 32)), (8, 512, (2, 128)), (64, 128, (64, 128))):
        assert measuring.small_pictures([np.zeros([1, height, width, 1])]).shape[2:4] == expected


def test_a_run_is_measured_once_and_its_states_end_in_its_samples(tiny_run, tmp_path, capsys, monkeypatch):
    workdir = shutil.copytree(tiny_run, tmp_path / 'w')
    options = ('--mode=sample,report', '--num_samples=20', '--seed=3')
    code, out, err = call(capsys, f'--workdir={workdir}', *options)
    assert code == 0, err
    found = measured.load(str(workdir), [])
    assert found.states.shape == (7, 8, 16, 16, 1) and found.state_levels.tolist() == [6, 5, 4, 3, 2, 1, 0]
    assert {energies.shape for energies in found.groups.values()} == {(6, 20)}
    np.testing.assert_allclose(found.sampled[:, :8], found.state_energies[1:][::-1], rtol=1e-4)
    assert found.state_energies[0].mean() == pytest.approx(128, rel=0.15)  # x_T: D / 2.
    drawn = next(line.split()[-1] for line in out.splitlines() if line.startswith('20 images'))
    images = samples.first_images(drawn, (16, 16, 1), 8)
    np.testing.assert_allclose(found.states[-1].astype(int), images, atol=1)

    monkeypatch.setattr(measuring.checkpoint, 'load_model', lambda *args: pytest.fail('it loads the model'))
    config = configuration.load(workdir).replace(seed=3)
    assert measuring.measure(config, str(workdir), 20).settings == found.settings


def test_report_needs_a_run(tmp_path, capsys):
    line = refused(capsys, '--mode=report', f'--workdir={tmp_path}')
    assert 'holds no config.json' in line
