"""Bits per dimension against closed forms, and the mode on a tiny run."""

import contextlib
import io
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from helpers import golden
from helpers.gaussians import exact_density
from helpers.tiny import TINY, call, refused

from drl_tf.base.errors import UserError
from drl_tf.cli.main import main
from drl_tf.config.config import Config
from drl_tf.core import diffusion, noise
from drl_tf.experiments import bits_per_dim, bridges, likelihood, partition
from drl_tf.experiments.annealing import Estimate
from drl_tf.experiments.side_by_side import side_by_side

SCHEDULE = diffusion.t1k()
A, S, M = SCHEDULE.A[0], SCHEDULE.S[0], SCHEDULE.m[0]


def exactly(log_z):
    return Estimate(log_z, 0.0, 64.0, log_z, 0.0)


def terms(grey, density, eps):
    log_density = bridges.within_wall(density(tf.zeros([1], tf.int32)))
    return bits_per_dim.terms_of_images(SCHEDULE, log_density, grey, eps)


def test_the_density_of_gaussian_data_is_its_entropy():
    """Under the exact model -log2 p averages to 0.5 log2(2 pi e v) per number, v of x_0 in grey levels."""
    mean, variance = 0.1, 0.02
    grey = np.clip(
        np.round((mean + np.sqrt(variance) * noise.normal([1, 2], [20_000, 2, 2, 1]).numpy() + 1) * 127.5),
        0,
        255,
    )
    images = terms(
        grey.astype(np.uint8), exact_density(SCHEDULE, mean, variance), noise.normal([3, 4], grey.shape)
    )
    log_z = 2 * np.log(2 * np.pi * M**2 * (A**2 * variance + S**2))
    found = bits_per_dim.bits_per_dim(SCHEDULE, (2, 2, 1), images, exactly(log_z), exactly(-log_z))
    v = 127.5**2 * (A**2 * variance + S**2)
    assert (
        found['density_low']
        == found['density_high']
        == pytest.approx(0.5 * np.log2(2 * np.pi * np.e * v), abs=0.02)
    )
    assert found['D'] == 4 and found['noise_floor'] == pytest.approx(2.40, abs=0.005)
    assert found['density_low_error'] == pytest.approx(np.sqrt(4 / 2 / 20_000) / 4 / np.log(2), rel=0.1)


def test_log_z_moves_the_figures():
    """A nat of log Z is 1 / (D ln 2) bits; the forward side has the low ones; the errors of both parts add in
    squares."""
    grey = np.full([100, 2, 2, 1], 130, np.uint8)
    images = terms(grey, exact_density(SCHEDULE, 0.0, 0.5), noise.normal([3, 4], grey.shape))
    low, high = Estimate(5.0, 0.5, 6.0, 4.0, 0.1), Estimate(-7.0, 0.0, 9.0, -7.5, 0.2)
    found = bits_per_dim.bits_per_dim(SCHEDULE, (2, 2, 1), images, low, high)
    for kind in ('density', 'discrete'):
        assert found[f'{kind}_high'] - found[f'{kind}_low'] == pytest.approx(2 / (4 * np.log(2)))
        spread = found[f'{kind}_high_error'] * 4 * np.log(2)
        assert found[f'{kind}_low_error'] * 4 * np.log(2) == pytest.approx(np.hypot(spread, 0.5))
    assert (found['log_z_low'], found['log_z_high'], found['log_z_high_mean_log']) == (5.0, 7.0, 7.5)
    few = bits_per_dim.bits_per_dim(
        SCHEDULE, (2, 2, 1), images, low._replace(effective_sample_size=4.9), high
    )
    assert (
        few['density_low_error'] is few['log_z_low_error'] is None and few['log_z_low_mean_log_error'] == 0.1
    )
    assert few['density_high_mean_log'] - few['density_low_mean_log'] == pytest.approx(
        (7.5 - 4) / (4 * np.log(2))
    )
    assert (
        few['density_low'] == found['density_low']
        and few['density_high_error'] == found['density_high_error']
    )


@pytest.mark.parametrize('u', [0, 3, 128, 254, 255])
def test_bins_are_those_of_a_gaussian(u):
    """They sum to 1 over the grey levels, the outer ones reaching to infinity, and have the density's values
    far up the tail."""
    mean, std = np.float64(u) + 0.3, 1.275
    probabilities = np.exp(bits_per_dim.log_bins(np.arange(256), np.full(256, mean), std))
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)
    for distance in (-9, 9):
        grey = np.array([100 + distance])
        bins = bits_per_dim.log_bins(grey, np.array([100.0]), 1.0)
        z = np.linspace(distance - 0.5, distance + 0.5, 100_001)
        integral = np.mean(np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))
        assert bins[0] == pytest.approx(np.log(integral), rel=1e-6)


def bound(u, mean, variance, size=20_000):
    """The discrete bound of one grey level for a Gaussian model, nats per number, and its error."""
    grey = np.full([size, 2, 2, 1], u, np.uint8)
    found = terms(grey, exact_density(SCHEDULE, mean, variance), noise.normal([3, u], grey.shape))
    log_z = 2 * np.log(2 * np.pi * M**2 * (A**2 * variance + S**2))
    values = (found['log_q'] - found['F'] - 4 * np.log(M) + log_z - found['log_P']) / 4
    return values.mean(), values.std() / np.sqrt(size)


def test_the_discrete_bound_is_a_bound():
    """exp(-bound) of a grey level is at most its probability, int p(x_0) P(u | x_0) dx_0, here by quadrature;
    over all it sums to less than 1, but not by much: the model of a broad Gaussian loses little.
    """
    mean, variance = 0.0, 0.1
    v, x_0 = A**2 * variance + S**2, np.linspace(-3, 3, 60_001)
    p = np.exp(-((x_0 - A * mean) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)
    total = 0.0
    for u in range(0, 256, 5):
        inner = np.exp(bits_per_dim.log_bins(np.full(x_0.shape, u), (x_0 / A + 1) * 127.5, S / A * 127.5))
        probability = np.sum(p * inner) * (x_0[1] - x_0[0])
        value, error = bound(u, mean, variance, 4000)
        assert np.exp(-value) < probability * (1 + 4 * error)
        assert (0 < u < 255 and np.exp(-value) == pytest.approx(probability, rel=0.05)) or u in (0, 255)
        total += np.exp(-value)
    assert 0.9 / 5 < total < 1.02 / 5


def test_the_discrete_bound_in_closed_form():
    """E_q[log q] = -0.5 log(2 pi e S^2), E_q[log p] = -0.5 log(2 pi v) - ((A x - A mu)^2 + S^2) / (2 v),
    E_q[log P] by quadrature."""
    u, mean, variance = 77, 0.2, 0.05
    x, v = 77 / 127.5 - 1, A**2 * variance + S**2
    z = np.linspace(-8, 8, 20_001)
    log_bins = bits_per_dim.log_bins(np.full(z.shape, u), ((A * x + S * z) / A + 1) * 127.5, S / A * 127.5)
    expected_log_bins = np.sum(log_bins * np.exp(-(z**2) / 2)) / np.sum(np.exp(-(z**2) / 2))
    expected = (
        -0.5 * np.log(2 * np.pi * np.e * S**2)
        + 0.5 * np.log(2 * np.pi * v)
        + (A**2 * (x - mean) ** 2 + S**2) / (2 * v)
    )
    value, error = bound(u, mean, variance)
    assert value == pytest.approx(expected - expected_log_bins, abs=5 * error) and error < 0.005


def test_methods_of_the_same_images_are_compared(tmp_path):
    """The annealed result with the most effort counts, of the same weights, noise and number of images. The
    difference is that of log Z_0, with its error."""
    (tmp_path / 'likelihood').mkdir()
    same = {'weights_sha256': 'abc', 'seed': 3}
    sides = {f'{kind}_{side}': 4.0 for kind in ('density', 'discrete') for side in ('low', 'high')}
    annealed = {
        **same, **sides, 'num_images': 9, 'D': 4, 'transitions': 10, 'num_chains': 2,
        'log_z_low': 10.0, 'log_z_low_error': 3.0, 'log_z_high': 20.0, 'log_z_high_error': None,
    }  # fmt: skip
    direct = {
        **same,
        'method': 'direct',
        'heights': {'bennett': {'log_z': [16.0, 0.0], 'error': [4.0, 0.0]}},
        'test': {'num_images': 9, 'density_bennett': 3.5, 'discrete_bennett': 2.5},
    }
    others = {
        'less': {'num_chains': 1},
        'weights': {'weights_sha256': 'other', 'num_chains': 9},
        'images': {'num_images': 8, 'num_chains': 9},
        'noise': {'seed': 4, 'num_chains': 9},
    }
    assert side_by_side(str(tmp_path), direct) == {}
    for name, changes in others.items():
        stored = {**annealed, 'density_low': 99.0, **changes}
        (tmp_path / 'likelihood' / f'{name}.json').write_text(json.dumps(stored))
    (tmp_path / 'likelihood' / 'damaged.json').write_text('{')
    (tmp_path / 'likelihood' / 'a.json').write_text(json.dumps(annealed))
    (tmp_path / 'likelihood' / 'b.json').write_text(json.dumps(direct))
    found = side_by_side(str(tmp_path), direct)
    assert found == side_by_side(str(tmp_path), annealed)
    assert found['x_0, both methods'] == '3.5 direct, 4 (low) to 4 (high) annealed bits/dim'
    assert found['grey levels, both'] == '2.5 direct, 4 (low) to 4 (high) annealed bits/dim'
    low, high, nat = 6.0, -4.0, 4 * np.log(2)
    assert found['direct - annealed'] == (
        f'{low / nat:+.3f} ± {5 / nat:.1g} (low), {high / nat:+.3f} (high) bits/dim'
    )


@pytest.mark.parametrize(('apart', 'crossed', 'is_noted'), [
    (5.5, 0.0, False), (6.5, 0.0, True), (-9.0, 9.0, False), (-9.0, 11.0, True),
])  # fmt: skip
def test_sides_contradict_each_other_beyond_their_errors(apart, crossed, is_noted):
    """Their means of log w have errors of 1.2 and 1.6 nats, 2 together."""
    same = dict.fromkeys(('near_wall_forward', 'near_wall_reverse'), 0.0)
    same |= dict.fromkeys(('effective_sample_size_low', 'effective_sample_size_high'), 64.0)
    same |= dict.fromkeys(('acceptance_forward', 'acceptance_reverse'), 0.7)
    ends = {'log_z_low': 20.0 + crossed, 'log_z_high': 20.0}
    means = {'log_z_low_mean_log': 20.0 + apart, 'log_z_low_mean_log_error': 1.2}
    means |= {'log_z_high_mean_log': 20.0, 'log_z_high_mean_log_error': 1.6}
    densities = {'density_low_mean_log': 3.0 + apart, 'density_high_mean_log': 3.0}
    found = likelihood.notes(
        Config().replace(schedule='t1k', mcmc_steps=(0,)), {**same, **ends, **means, **densities}
    )
    assert any('miss a part of the model' in note for note in found) == is_noted
    assert not any('do not mix' in note or 'without a class' in note for note in found)


QUICK = [
    '--mode=likelihood',
    '--num_chains=4',
    '--sample_batch_size=2',
    '--ais_steps=12',
    '--hmc_leapfrog=2',
    '--num_real=30',
]


@pytest.fixture(scope='module')
def short_chains(tmp_path_factory):
    """The small run of `cdrl`, of short chains and of classes: 8 px, two levels."""
    return golden.copied('cdrl', tmp_path_factory.mktemp('runs') / 'cdrl')


@pytest.fixture(scope='module')
def first(short_chains):
    """The command's result and its output; the run keeps two batches of two chains."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert main(['run.py', *QUICK, f'--workdir={short_chains}']) == 0
    return written(out.getvalue()), out.getvalue(), err.getvalue()


def written(out):
    return json.loads(pathlib.Path(out.split()[-1]).read_text())


def figures(capsys, workdir, *arguments):
    code, out, err = call(capsys, *QUICK, f'--workdir={workdir}', *arguments)
    assert code == 0, err
    return written(out), out, err


def test_the_mode_says_all_that_must_be_known(first):
    result, out, err = first
    for word in (
        'density of x_0', 'grey levels', 'D = 64', 'noise floor ', 'chains effective',
        'an estimate, not a bound', 'do not mix', 'of the model without a class', 'near the wall',
        '30 of the test split', 'lower bound in expectation', 'by mean of log w',
    ):  # fmt: skip
        assert word in out, out
    assert 'transitions' in err and result['num_images'] == 30 and result['num_chains'] == 4
    assert np.isfinite(
        [result[f'{kind}_{side}'] for kind in ('density', 'discrete') for side in ('low', 'high')]
    ).all()
    for side in ('forward', 'reverse'):
        assert 0 <= result[f'near_wall_{side}'] <= 1 and 0 < result[f'acceptance_{side}'] <= 1


def test_the_same_command_finds_the_same_and_does_nothing_twice(capsys, short_chains, first, monkeypatch):
    monkeypatch.setattr(partition, 'save', None)
    again, *_ = figures(capsys, short_chains)
    time = 'seconds_of_this_command'
    assert {**first[0], time: 0} == {**again, time: 0}


@pytest.mark.slow
def test_another_seed_has_other_chains(capsys, short_chains, first, monkeypatch):
    def reverse(*arguments):
        raise UserError('that is all')

    monkeypatch.setattr(partition.Partition, 'reverse', reverse)
    code, _, err = call(capsys, *QUICK, f'--workdir={short_chains}', '--seed=1', '--num_chains=2')
    assert code == 2 and 'that is all' in err
    paths = list((short_chains / 'likelihood').glob('*/forward-00000-2.npz'))
    mine, other = (np.load(path)['log_weight'] for path in paths)
    assert len(mine) == len(other) == 2 and not np.any(mine == other)


def test_what_the_mode_refuses(capsys, short_chains, tmp_path):
    workdir = f'--workdir={short_chains}'
    assert '--ais_steps is for --mode=likelihood' in refused(
        capsys, '--mode=sample', workdir, '--ais_steps=9'
    )
    assert 'needs --workdir' in refused(capsys, '--mode=likelihood')
    assert '--num_chains=1' in refused(capsys, '--mode=likelihood', workdir, '--num_chains=1')
    assert '--norm=batch' in refused(
        capsys, *TINY, '--norm=batch', f'--workdir={tmp_path}/w', '--mode=train,likelihood'
    )
