"""Densities of the plane: integrals that are known, and a run of a toy set from training to a SavedModel."""

import contextlib
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from helpers.tiny import call, refused
from PIL import Image

import drl_tf
from drl_tf.core import diffusion, noise
from drl_tf.data import plane as sets
from drl_tf.experiments import annealed_points, density
from drl_tf.runs import checkpoint, samples

POINTS = [
    '--dataset=toy_two_moons', '--num_levels=40', '--channels=16', '--batch_size=128',
    '--sample_batch_size=300', '--train_steps=400',
    '--log_every=100', '--grid_every=400', '--checkpoint_every=400',
]  # fmt: skip


def exact_density(schedule, variance):
    """The log density of y_t = m_t x_t for Gaussian data of mean 0, without its normaliser; and that
    normaliser, log Z_t."""
    width = schedule.m * np.sqrt(schedule.A[:-1] ** 2 * variance + schedule.S[:-1] ** 2)

    def density_at(level):
        return lambda y: -0.5 * tf.reduce_sum((y / diffusion.at(width, level)) ** 2, axis=[1, 2, 3])

    return density_at, np.log(2 * np.pi * width**2)


@pytest.mark.parametrize('width', [0.02, 0.1, 1.0])
def test_quadrature_of_gaussians(width):
    grid = density.quadrature(lambda y: -0.5 * tf.reduce_sum(((y - 0.3) / width) ** 2, axis=[1, 2, 3]), width)
    assert grid.log_z == pytest.approx(np.log(2 * np.pi * width**2), abs=1e-5)
    assert grid.error < 0.02 and len(grid.side) == {0.02: 1200, 0.1: 240, 1.0: 240}[width]


def test_quadrature_sees_what_is_too_fine_for_it():
    """Its error says so where the true one is large."""
    grid = density.quadrature(
        lambda y: -0.5 * tf.reduce_sum(((y - 0.003) / 0.004) ** 2, axis=[1, 2, 3]), 0.02
    )
    assert grid.error > abs(grid.log_z - np.log(2 * np.pi * 0.004**2)) > 0.01


def test_the_wall_bounds_the_plane():
    assert density.quadrature(lambda y: 0.0 * tf.reduce_sum(y, axis=[1, 2, 3]), 1.0).log_z == pytest.approx(
        np.log(12.0**2), abs=1e-6
    )


def test_annealing_agrees_with_what_is_known_at_every_level():
    """And so it does on the way back from the lowest."""
    schedule = diffusion.t6(3)
    density_at, log_z = exact_density(schedule, 0.3)
    found, back = annealed_points.annealed(
        schedule, density_at, num_chains=300, ais_steps=30, hmc_leapfrog=3, seed=0
    )
    assert abs(back.log_mean + log_z[0]) < 4 * back.standard_error < 0.4
    assert sorted(found) == [0, 1, 2]
    for t, estimate in found.items():
        grid = density.quadrature(density_at(tf.constant([t])), schedule.S[t])
        assert abs(estimate.log_mean - log_z[t]) < 4 * estimate.standard_error < 0.4
        assert abs(density.compared(grid, estimate, 0.0)['differs_by_errors']) < 4


def test_what_is_said_of_a_level():
    """A disagreement beyond three standard errors is named."""
    grid = density.Grid(np.zeros(1), np.zeros([1, 1]), 1.0, 0.0)
    for log_mean, words in (
        (1.2, '2.0 standard errors apart;'),
        (1.5, '5.0 standard errors apart, more than 3;'),
    ):
        said = density.said(
            density.compared(grid, density.annealing.Estimate(log_mean, 0.1, 50.0, 1.1, 0.1), -0.5)
        )
        assert (
            words in said
            and f'log Z 1.0000 by quadrature (± 0), {log_mean:.4f} ± 0.1 by annealed' in said
            and '-0.500 nats' in said
        )
    compared = density.compared(grid, density.annealing.Estimate(1.2, 0.1, 50.0, 1.1, 0.1), -0.5)
    said = density.said(compared | {'log_z_direct': 0.9766, 'direct_error': 0.01})
    assert '0.9766 ± 0.01 from noisy points, -0.0234 from quadrature' in said


def test_levels_that_are_shown():
    """All of few; of many ten, the noise of each about the same multiple of the one below."""
    assert density.shown_levels(diffusion.t6()) == [5, 4, 3, 2, 1, 0]
    levels, noises = density.shown_levels(diffusion.t1k()), diffusion.t1k().S
    assert len(levels) == 10 and (levels[0], levels[-1]) == (998, 0)
    np.testing.assert_allclose(
        np.diff(np.log(noises[levels])), np.log(noises[0] / noises[998]) / 9, rtol=0.25
    )


@pytest.mark.parametrize('size', [(1, 1, 2), (1, 1, 3), (2, 2, 1)])
def test_noise_of_a_point_depends_on_its_index_alone(size):
    whole = noise.normal([1, 2], [9, *size]).numpy()
    np.testing.assert_array_equal(noise.normal([1, 2], [4, *size], 5), whole[5:])
    assert len(np.unique(whole)) == whole.size


@pytest.fixture(scope='module')
def points_run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('runs') / 'points'
    assert toy_call(*POINTS, f'--workdir={workdir}') == 0
    return workdir


def toy_call(*arguments):
    from drl_tf.cli.main import main

    return main(['run.py', *map(str, arguments)])


def test_training_and_sampling(capsys, points_run):
    """The grids are clouds; the shards hold points, each the same whichever are drawn with it."""
    assert {Image.open(points_run / 'samples' / name).size for name in ('data.png', '00000400.png')} == {
        (512, 512)
    }
    data = np.asarray(Image.open(points_run / 'samples' / 'data.png'))
    moon = data[256 - int(0.25 / 3 * 512) - 60 : 256, :]
    assert moon.mean() > 3 * data[:100].mean()
    code, out, err = call(capsys, '--mode=sample', f'--workdir={points_run}', '--num_samples=700')
    assert code == 0, err
    drawn = np.concatenate(list(samples.read(out.split()[-1], sets.IMAGE_SHAPE)))
    assert drawn.shape == (700, 1, 1, 2) and drawn.dtype == np.float32 and len(np.unique(drawn)) > 1300
    one = call(capsys, '--mode=sample', f'--workdir={points_run}', '--num_samples=1', '--first_sample=650')[
        1
    ].split()[-1]
    np.testing.assert_allclose(
        np.concatenate(list(samples.read(one, sets.IMAGE_SHAPE)))[0], drawn[650], atol=1e-5
    )
    assert Image.open(points_run / 'samples' / '00000400-ema-700-seed0-trajectory.png').size == (9 * 128, 128)


@pytest.fixture(scope='module')
def weighed(points_run):
    """What the density of the run prints, and its export, which has that density."""
    arguments = ['--num_samples=300', '--num_chains=150', '--ais_steps=60', '--hmc_leapfrog=3']
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert toy_call('--mode=density,export', f'--workdir={points_run}', *arguments) == 0
    return out.getvalue(), points_run / 'saved_model'


@pytest.mark.slow
def test_density_mode(points_run, weighed):
    out, exported = weighed
    (path,) = (points_run / 'density').glob('*.json')
    result = json.loads(path.read_text())
    model, _ = checkpoint.load_model(str(points_run))
    assert result['weights_sha256'] == samples.fingerprint(model, 'ema')
    levels = result['levels']
    assert {'39', '0'} < levels.keys() and out.count('standard errors apart') == len(levels) >= 6
    for level in levels.values():
        assert abs(level['differs_by_errors']) < 4 and level['quadrature_error'] < 0.05
        assert level['mean_log_density_of_fresh_points'] < 0 and level['near_wall'] < 1e-3
    back, grid = levels['0']['log_z_back'], levels['0']['log_z_quadrature']
    assert abs(back - grid) < 4 * levels['0']['back_error'] + levels['0']['quadrature_error'] < 0.5
    assert out.count(f'{back:.4f} ± ') == out.count('by chains back to noise') == 1
    assert levels['39']['mean_log_density_of_fresh_points'] == pytest.approx(-1 - np.log(2 * np.pi), abs=0.2)
    assert Image.open(path.with_suffix('.png')).size[0] > 400
    text = (exported / '1' / 'README.md').read_text()
    assert (
        f'{levels["0"]["log_z_quadrature"]:.4f} by quadrature' in text
        and 'points of the plane' in text
        and 'pixels' not in text
    )
    signatures, points = (
        tf.saved_model.load(str(exported / '1')).signatures,
        tf.constant([[[[0.1, -0.2]]], [[[0.9, 0.3]]]]),
    )
    found, level = signatures['log_likelihood'](images=points), levels['0']
    m_0 = diffusion.t1k(40).m[0]
    energy = signatures['energy'](images=np.float32(m_0) * points, level=tf.zeros([2], tf.int32))['energy']
    for side, log_z in zip(
        ('high', 'low'), sorted([level['log_z_quadrature'], level['log_z_annealed']]), strict=True
    ):
        np.testing.assert_allclose(found[side], -energy - log_z + 2 * np.log(m_0), rtol=1e-5)


@pytest.mark.slow
def test_export(capsys, points_run, weighed):
    exported = weighed[1]
    signatures = tf.saved_model.load(str(exported / '1')).signatures
    drawn = signatures['sample'](seed=tf.constant([0, noise.SAMPLING]), num_samples=tf.constant(5))['images']
    assert drawn.shape == (5, 1, 1, 2) and drawn.dtype == tf.float32
    out = call(capsys, '--mode=sample', f'--workdir={points_run}', '--num_samples=5')[1].split()[-1]
    np.testing.assert_allclose(np.concatenate(list(samples.read(out, sets.IMAGE_SHAPE))), drawn, atol=1e-4)
    model = drl_tf.EnergyModel.from_preset(str(exported))
    np.testing.assert_allclose(model.generate(5), drawn, atol=1e-4)
    x = drawn.numpy().clip(-1, 1)
    y = (model.model.schedule.m[0] * model.model.schedule.A[0]).astype(np.float32) * x
    energy = signatures['energy'](images=y, level=tf.zeros([5], tf.int32))['energy']
    np.testing.assert_allclose(model.energy(x), energy, rtol=1e-4, atol=1e-3)


def test_modes_of_images_are_refused(capsys, points_run, tiny_run, tmp_path):
    for mode in ('evaluate', 'likelihood', 'stats', 'sweep_steps'):
        line = refused(capsys, f'--mode={mode}', f'--workdir={points_run}')
        assert f'--mode={mode} is for images' in line and 'toy_two_moons' in line
    assert '--evaluate_every is for images' in refused(
        capsys, *POINTS, f'--workdir={tmp_path}/w', '--evaluate_every=5'
    )
    assert '--mode=density is for points' in refused(capsys, '--mode=density', f'--workdir={tiny_run}')
    assert '--initializer' in refused(
        capsys, '--dataset=toy_two_moons', '--recipe=cdrl', f'--workdir={tmp_path}/w'
    )
