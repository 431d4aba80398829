"""Long-run chains through the command line: what they leave, and that they go on with the bits of those that
never ended."""

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
from helpers import forks
from helpers.tiny import TINY, call, refused
from matplotlib.figure import Figure
from PIL import Image

from drl_tf.base import pixels
from drl_tf.cli.main import main
from drl_tf.config import config as configuration
from drl_tf.core import diffusion
from drl_tf.data import pipeline
from drl_tf.evaluation.evaluator import Evaluator
from drl_tf.experiments import long_run, long_run_report
from drl_tf.experiments.long_run_files import ChainFiles
from drl_tf.runs import checkpoint, pictures

CHAINS = [
    '--mode=long_run',
    '--num_chains=4',
    '--chain_levels=0,3',
    '--chain_burn_in=6',
    '--hmc_leapfrog=2',
    '--chain_minutes=0',
    '--num_real=100',
]
ROOT_NAME = '00000032-ema-hmc-seed0'
FRECHET = 'frechet_distance'


@pytest.fixture(scope='module')
def whole(tiny_run, tmp_path_factory):
    """A copy of the tiny run with chains of 31 transitions, made in one command; and its output."""
    workdir = tmp_path_factory.mktemp('long') / 'whole'
    shutil.copytree(tiny_run, workdir)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(['run.py', *CHAINS, f'--workdir={workdir}', '--chain_steps=31']) == 0
    return workdir, out.getvalue()


@pytest.fixture
def copy(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / 'copy')
    return tmp_path / 'copy'


def of(workdir, level=0):
    return ChainFiles(workdir / 'long_run' / ROOT_NAME / f'level{level:03d}')


def assert_same(mine, expected, done=31):
    """The same energies, acceptances and states, bit for bit."""
    for level in (0, 3):
        a, b = of(mine, level), of(expected, level)
        for x, y in zip(a.trace(done), b.trace(done), strict=True):
            np.testing.assert_array_equal(x, y)
        assert a.snapshots() == b.snapshots() == [0, 1, 3, 10, 30]
        for step in a.snapshots():
            np.testing.assert_array_equal(a.snapshot(step), b.snapshot(step))


def test_what_is_said_and_left(whole):
    workdir, out = whole
    assert (
        'at levels 0, 3' in out
        and '62 transitions over all levels, 124 gradients of 8 images' in out
        and 'minutes' in out
    )
    root = workdir / 'long_run' / ROOT_NAME
    found = json.loads((root / 'metrics.json').read_text())['levels']
    assert list(found) == ['0', '3']
    for level in found.values():
        assert level['transitions'] == 31 and 0 < level['step_size'] < 10 and 0 <= level['acceptance'] <= 1
        assert level['r_hat_max'] >= level['r_hat_median'] > 0 and level['ess_total'] > 0
        assert [list(level[FRECHET][kind]) for kind in ('x_next', 'data')] == [
            ['0', '1', '3', '10', '30', '31']
        ] * 2
    with open(root / 'metrics.csv', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 6
    energies, _ = of(workdir, 3).trace(31)
    row = next(row for row in rows if (row['level'], row['start'], row['transitions']) == ('3', 'data', '10'))
    assert float(row['mean_energy']) == pytest.approx(energies[9, 4:].mean(), rel=1e-5)
    assert float(row[FRECHET]) == pytest.approx(found['3'][FRECHET]['data']['10'])
    side = 16 * -(-512 // (16 * 8))
    strip = Image.open(root / 'strip-level003.png')
    assert strip.size == (6 * side, 8 * side + pictures.HEADER)
    assert all(np.ptp(strip.crop((i * side, 0, (i + 1) * side, pictures.HEADER))) > 200 for i in range(6))
    assert Image.open(root / 'long_run.png').size[0] > 500


def test_where_the_chains_start_and_what_they_walk_on(whole):
    """From x_{t+1} and from the y_t of one image; what is traced is minus log p(y_t | x_{t+1}) of the
    averaged weights."""
    workdir, _ = whole
    model, _ = checkpoint.load_model(workdir)
    sampler = long_run.Sampler(model, long_run.Plan((3,), 'hmc', 4, 2, 6, 31, 0.0), 'ema')
    x_next, start = sampler.pairs(3)
    schedule, snapshot = model.schedule, of(workdir, 3).snapshot(0)
    np.testing.assert_array_equal(x_next[:4], x_next[4:])
    np.testing.assert_array_equal(x_next[:4], start[:4])
    np.testing.assert_allclose(snapshot, start / schedule.m[3], rtol=1e-6)
    images = next(iter(pipeline.training_images(model.config.data, 4, 0)))
    noise_t, noise_next = snapshot[4:] - schedule.A[3] * images, x_next[:4] - schedule.a[4] * snapshot[4:]
    np.testing.assert_allclose(
        [np.std(noise_t) / schedule.S[3], np.std(noise_next) / schedule.s[4]], 1, rtol=0.1
    )
    files = of(workdir, 3)
    with np.load(files.directory / 'state-0000031.npz') as state:
        done, (y, *_) = files.restore([np.zeros_like(state[name]) for name in state])
    log_density = model.density_at(diffusion.tf.fill([8], 3))(y) - np.sum(
        (y - x_next) ** 2, axis=(1, 2, 3)
    ) / (2 * schedule.s[4] ** 2)
    assert done == 31
    np.testing.assert_allclose(of(workdir, 3).trace(31)[0][-1], -log_density, rtol=1e-3)


def test_distances_are_from_real_images_with_the_noise_of_the_level(whole):
    """Held-out images are nearest when they have as much noise as the real ones were given."""
    workdir, _ = whole
    config, schedule = configuration.load(str(workdir)).replace(num_real=1000), diffusion.t6()
    evaluator = Evaluator(config, str(workdir / 'parts'), long_run_report.Diffused(schedule, 2, [0, 1]))
    clean, rng = pipeline.load_images(config.data, 'test', 500) / 127.5 - 1, np.random.default_rng(0)
    distances = [
        evaluator.distance(
            [pixels.to_uint8(schedule.A[t] * clean + schedule.S[t] * rng.normal(size=clean.shape))]
        )
        for t in range(4)
    ]
    assert distances[2] < 0.3 * min(distances[:2] + distances[3:]), distances
    assert 'as x_2' in evaluator.real.images
    found = json.loads((workdir / 'long_run' / ROOT_NAME / 'metrics.json').read_text())['levels']
    states = of(workdir, 3).snapshot(10)[4:]
    evaluator = Evaluator(
        config.replace(num_real=100),
        str(workdir / 'parts_of_100'),
        long_run_report.Diffused(schedule, 3, long_run_report.seed_of(config)),
    )
    assert evaluator.distance([pixels.to_uint8(states)]) == pytest.approx(
        found['3'][FRECHET]['data']['10'], rel=1e-6
    )


@pytest.mark.slow
def test_chains_that_go_on_end_as_others(capsys, whole, copy):
    """Two commands, the first ending within the burn-in, make the chains of one; a third finds all done."""
    for steps in (4, 31):
        code, out, err = call(capsys, *CHAINS, f'--workdir={copy}', f'--chain_steps={steps}')
        assert code == 0, err
    assert '54 transitions over all levels' in out
    assert_same(copy, whole[0])
    before = (copy / 'long_run' / ROOT_NAME / 'metrics.json').read_text()
    assert 'cost' not in call(capsys, *CHAINS, f'--workdir={copy}', '--chain_steps=31')[1]
    assert (copy / 'long_run' / ROOT_NAME / 'metrics.json').read_text() == before


@pytest.mark.slow
def test_a_signal_costs_at_most_a_chunk(capsys, whole, copy):
    """After a signal ends a process, another continues its chains with the bits of uninterrupted ones."""
    command = ['run.py', *CHAINS, f'--workdir={copy}', '--chain_steps=1000000']
    with forks.start(command, os.devnull, os.devnull) as process:
        while not list((copy / 'long_run').glob('*/level000/state-*.npz')):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM
    assert not list((copy / 'long_run').rglob('*.png'))
    reached = max(int(path.stem[6:]) for path in (copy / 'long_run').glob('*/level000/state-*.npz'))
    assert call(capsys, *CHAINS, f'--workdir={copy}', f'--chain_steps={max(31, reached)}')[0] == 0
    for mine, expected in zip(of(copy).trace(max(31, reached)), of(whole[0]).trace(31), strict=True):
        np.testing.assert_array_equal(mine[:31], expected)


@pytest.mark.slow
def test_damaged_files(capsys, caplog, whole, tmp_path):
    """The state before a damaged one is taken up; without the energies that led there the chains begin anew.
    Each is said."""
    workdir = tmp_path / 'copy'
    shutil.copytree(whole[0], workdir)
    for name in ('level000/state-0000031.npz', 'level003/trace-0000003.npz'):
        file = workdir / 'long_run' / ROOT_NAME / name
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    code, _, err = call(capsys, *CHAINS, f'--workdir={workdir}', '--chain_steps=31')
    assert code == 0, err
    for words in ('level000 after 31 transitions', 'level003 after 30 transitions'):
        assert f'{words} are damaged' in caplog.text
    assert_same(workdir, whole[0])


def test_chains_of_other_settings_are_put_aside(capsys, caplog, whole, tmp_path):
    workdir = tmp_path / 'copy'
    shutil.copytree(whole[0], workdir)
    code, _, err = call(capsys, *CHAINS, f'--workdir={workdir}', '--chain_steps=3', '--hmc_leapfrog=1')
    assert code == 0 and f'{ROOT_NAME}.1' in caplog.text, err
    assert of(workdir).snapshots() == [0, 1, 3]
    assert (workdir / 'long_run' / f'{ROOT_NAME}.1' / 'level000' / 'state-0000031.npz').exists()


def test_the_budget(capsys, copy):
    """It is shown before the work, and what was done by then is reported."""
    arguments = [*CHAINS, f'--workdir={copy}', '--chain_steps=100000', '--chain_method=langevin']
    code, out, err = call(capsys, *arguments, '--chain_minutes=1e-9')
    assert code == 0, err
    assert 'langevin at levels 0, 3' in out and '--chain_minutes=1e-09 allows about 0 more' in out
    assert out.index('minutes') < out.index('level 0') and 'of 100,000 transitions' in out


def test_energies_are_drawn_from_where_each_chain_ends():
    """Two nats of drift show in spite of hundreds between chains; what comes after a chain ran out of the
    numbers does not."""
    drift, rest = np.repeat([2.0, 0.0], 50)[:, None, None], np.linspace(-500, 500, 22).reshape(2, 11)
    energies = np.concatenate([drift + rest, np.full([3, 2, 11], np.nan)]).astype(np.float32)
    axes = Figure().subplots()
    long_run_report.draw_energies(axes, energies, long_run.KINDS)
    for line, band in zip(axes.lines, axes.collections, strict=True):
        steps, drawn = line.get_data()
        np.testing.assert_allclose(drawn, np.where(steps <= 50, 2, 0), atol=1e-3)
        assert steps[-1] == 100 and np.abs(band.get_paths()[0].vertices[:, 1]).max() == pytest.approx(
            2, abs=1e-3
        )
    long_run_report.draw_energies(axes, energies[-3:], long_run.KINDS)
    assert len(axes.lines) == 2


def test_wrong_levels_are_refused(capsys, copy):
    assert '--chain_levels=6 must be from 0 to 5' in refused(
        capsys, '--mode=long_run', f'--workdir={copy}', '--chain_levels=6'
    )
    assert '--extractor=nonsense' in refused(
        capsys, '--mode=long_run', f'--workdir={copy}', '--extractor=nonsense'
    )
    line = refused(capsys, *TINY, '--norm=batch', '--mode=train,long_run', f'--workdir={copy}/w')
    assert '--mode=long_run: --norm=batch gives no density' in line
    assert '--chain_method' in refused(capsys, '--mode=long_run', f'--workdir={copy}', '--chain_method=gibbs')
    assert '--chain_steps is for --mode=long_run' in refused(
        capsys, '--mode=sample', f'--workdir={copy}', '--chain_steps=3'
    )
    line = refused(capsys, *CHAINS, f'--workdir={copy}', '--chain_steps=1', '--sampling_levels=3')
    assert '--sampling_levels is for --mode=' in line and line.endswith('not for long_run')
    both = ['--mode=sample,long_run', '--sampling_levels=3', '--chain_levels=6']
    assert '--chain_levels=6 must be from 0 to 5' in refused(capsys, *both, f'--workdir={copy}')
