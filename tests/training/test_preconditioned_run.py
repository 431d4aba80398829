"""Runs of preconditioned energies through the command line: what training measures, keeps and hands on."""

import contextlib
import io
import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from helpers.serving import export_only
from helpers.tiny import TINY, call, refused, sampled

import drl_tf
from drl_tf.config import config
from drl_tf.config.training_options import LOSSES_OF_HEIGHTS
from drl_tf.data import pipeline
from drl_tf.experiments import direct_likelihood
from drl_tf.runs import checkpoint
from drl_tf.tools import kills
from drl_tf.training import measured_options, train

OPTIONS = [
    *(word for word in TINY if not word.startswith(('--recipe', '--mcmc_steps', '--channel_mult'))),
    '--image_size=8',
    '--recipe=preconditioned',
    '--channel_mult=1',
    '--num_levels=3',
    '--levels=continuous',
    '--time_score=0.05',
    '--level_classification=0.05',
    '--recovery_nce=0.05',
    '--recovery_off_data=0.05',
    '--heights_after=2',
]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A run of 6 steps that was sampled by the same command, and its samples."""
    from drl_tf.cli.main import main

    workdir = tmp_path_factory.mktemp('preconditioned') / 'w'
    options = [*OPTIONS, '--train_steps=6', '--log_every=4', '--checkpoint_every=3']
    sampling = ['--num_samples=8', '--mode=train,sample']
    assert main(['run.py', *options, f'--workdir={workdir}', *sampling]) == 0
    return workdir, options


def test_the_images_are_measured_once_and_kept(run):
    """Their mean and deviation are in the configuration, of the run and of each checkpoint."""
    workdir, _ = run
    images = pipeline.load_images(config.load(workdir).data, 'train') / 127.5 - 1
    for directory in (workdir, workdir / 'checkpoints' / '00000006'):
        data = config.load(directory).data
        np.testing.assert_allclose([*data.data_mean, data.data_std], [images.mean(), images.std()], atol=1e-6)


def test_what_a_run_without_a_checkpoint_left_decides_nothing(tmp_path):
    """A command that ended before its first checkpoint has left the configuration of another dataset."""
    images = dict(dataset='digits', image_size=16, image_channels=1)
    config.Config().replace(**images, data_mean=(0.1,), data_std=0.0).save(str(tmp_path))
    data = config.Config().replace(**images).data
    mean, std = measured_options.data_scale(data, str(tmp_path), None)
    assert (mean, std) == pipeline.mean_and_std(data)


def test_one_of_mean_and_deviation_may_be_given(tmp_path):
    images = dict(dataset='digits', image_size=16, image_channels=1, energy='preconditioned', act='swish')
    asked = config.Config().replace(**images, objective='score_matching', spectral_norm=False)
    mean, std = pipeline.mean_and_std(asked.data)
    for given, expected in ((dict(data_std=0.3), (mean, 0.3)), (dict(data_mean=(0.1,)), ((0.1,), std))):
        found = measured_options.completed(asked.replace(**given), str(tmp_path), None).data
        assert (found.data_mean, found.data_std) == expected


def test_losses_that_compare_densities_train_in_float32(run):
    """Also where no command line sees to it, as in the rows of an ablation."""
    workdir, _ = run
    train.train(config.load(workdir).replace(precision='bfloat16'), str(workdir))
    assert config.load(workdir).training.precision == 'float32'


def test_a_model_has_the_mean_and_deviation_of_its_training(run):
    """A loaded model has the mean and deviation of its training even if the given configuration has none."""
    workdir, _ = run
    before = config.load(workdir).replace(data_mean=(), data_std=0.0)
    network = checkpoint.load_model(str(workdir), before)[0].network
    stored = config.load(workdir).data
    assert network.std == pytest.approx(stored.data_std) and network.std != 0.5


def test_a_mode_after_training_has_the_model_that_was_trained(capsys, run):
    """Sampling in the command that trained gives what sampling later gives."""
    workdir, _ = run
    (before,) = (workdir / 'samples').glob('*-seed0')
    before = before.rename(workdir / 'before')
    images, directory = sampled(capsys, workdir, '--mode=sample', '--num_samples=8', side=8)
    first = {path.name: path.read_bytes() for path in before.glob('*.npz')}
    second = {path.name: path.read_bytes() for path in directory.glob('*.npz')}
    assert len(images) == 8 and first and first == second


def test_an_interrupted_run_ends_with_the_bits_of_an_uninterrupted_one(capsys, run, tmp_path):
    """Every variable of the last checkpoint, and the log but for its clock, whose first line spans the
    interruption."""
    workdir, options = run
    shutil.copytree(workdir, tmp_path / 'parts')
    shutil.rmtree(tmp_path / 'parts' / 'checkpoints' / '00000006')
    code, out, err = call(capsys, *options, f'--workdir={tmp_path}/parts')
    assert code == 0 and 'resuming at step 3' in out, err
    (whole, whole_log), (parts, parts_log) = (
        kills.state(path, step=6) for path in (workdir, tmp_path / 'parts')
    )
    assert [line.get('step') for line in whole_log] == [4, 6, None] and whole_log == parts_log
    assert len(whole) > 50 and whole.keys() == parts.keys()
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name], err_msg=name)


def test_heights_are_taught_after_the_slopes(run):
    """The log has a loss of each for all T + 1 noises."""
    lines = [json.loads(line) for line in (run[0] / 'metrics.jsonl').read_text().splitlines()]
    for line in lines:
        for name in ('loss', *LOSSES_OF_HEIGHTS):
            assert len(line[f'level_{name}']) == 4
        assert line['loss'] > 0


@pytest.fixture(scope='module')
def measured(run):
    """What the direct likelihood of the run prints; the run keeps it in a file, which the last word names."""
    from drl_tf.cli.main import main

    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(['run.py', '--mode=likelihood', f'--workdir={run[0]}', '--num_real=100']) == 0
    return out.getvalue()


@pytest.fixture(scope='module')
def exported(run, measured, tmp_path_factory):
    """The version folder of an export of the measured run, with the signatures that answer with heights."""
    with pytest.MonkeyPatch.context() as patch:
        export_only(patch, 'log_likelihood', 'score', 'score_bytes')
        return drl_tf.EnergyModel.from_preset(run[0]).export(tmp_path_factory.mktemp('exported') / 'm')


def test_direct_likelihood_and_the_signature_that_it_makes(run, measured, exported):
    """Both constants agree, the file has them at all noises, and an export answers with them."""
    workdir, _ = run
    assert 'integration' in measured and 'bennett' in measured
    result = json.loads(pathlib.Path(measured.split()[-1]).read_text())
    integration, bennett = (result['heights'][name] for name in ('integration', 'bennett'))
    assert len(integration['log_z']) == len(bennett['error']) == 4
    np.testing.assert_allclose(integration['log_z'], bennett['log_z'], atol=5)
    assert (result['summary']['log_z_integration'], result['summary']['log_z_integration_error']) == (
        integration['log_z'],
        integration['error'],
    )
    signature = tf.saved_model.load(exported).signatures['log_likelihood']
    x = tf.constant(np.random.default_rng(0).normal(size=[2, 8, 8, 1]), tf.float32)
    found = signature(x)
    model, _ = checkpoint.load_model(workdir)
    log_prob = model.log_prob_at(tf.fill([2], np.float32(model.schedule.angle[0])))(x)
    log_z = sorted(estimate['log_z'][0] for estimate in (integration, bennett))
    np.testing.assert_allclose(found['low'], log_prob - log_z[1], rtol=1e-4)
    np.testing.assert_allclose(found['high'], log_prob - log_z[0], rtol=1e-4)


def test_log_prob_and_typicality_in_python(run, exported):
    """An export carries the heights on; real images are typical, noise and empty images are not."""
    workdir, _ = run
    model = drl_tf.EnergyModel.from_preset(workdir)
    images = pipeline.load_images(model.config.data, 'test', 40)
    found = model.log_prob(images, level=1)
    again = drl_tf.EnergyModel.from_preset(exported)
    np.testing.assert_allclose(again.log_prob(images, level=1), found, rtol=1e-5)
    served = tf.saved_model.load(exported).signatures['score_bytes'](tf.io.encode_png(images))
    scores = model.anomaly_scores(images)
    for name in ('energy', 'log_prob', 'gradient', 'maps'):
        np.testing.assert_allclose(served[name], getattr(scores, name), rtol=1e-3, atol=1e-2, err_msg=name)
    np.testing.assert_allclose(served['typicality'], model.typicality(images), rtol=1e-3, atol=1e-3)
    direct = model.model.log_prob_at(tf.fill([40], np.float32(model.model.schedule.angle[1])))
    x = np.float32(model.model.schedule.A[1]) * np.float32(images / 127.5 - 1)
    heights = json.loads(next((workdir / 'likelihood').glob('*direct*.json')).read_text())['heights']
    np.testing.assert_allclose(found, direct(x) - heights['bennett']['log_z'][1], rtol=1e-5)
    assert 0.3 < model.typicality(images).mean() < 3
    noise = np.random.default_rng(0).integers(0, 256, images.shape, np.uint8)
    assert model.typicality(noise).min() > 5


@pytest.mark.slow
def test_both_methods_stand_side_by_side(capsys, run, measured, monkeypatch, tmp_path):
    """The second method names the figures of both. A repeated direct one finds its file."""
    workdir = shutil.copytree(run[0], tmp_path / 'w')
    direct = measured.replace(str(run[0]), str(workdir))
    given = ['--mode=likelihood', f'--workdir={workdir}', '--num_real=100']
    assert 'annealed' not in direct
    annealing = ['--method=ais', '--num_chains=2', '--ais_steps=4', '--hmc_leapfrog=1']
    code, annealed, err = call(capsys, *given, *annealing)
    assert code == 0, err
    assert 'near the walls' not in annealed
    result = json.loads(pathlib.Path(annealed.split()[-1]).read_text())
    assert (result['path'], result['tail_in_S']) == ('walk', 3)
    monkeypatch.setattr(direct_likelihood, 'Heights', None)
    code, again, err = call(capsys, *given)
    assert code == 0 and set(direct.splitlines()) < set(again.splitlines()), err
    for out in (annealed, again):
        lines = {line[:17]: line for line in out.splitlines()}
        assert lines['x_0, both methods'].endswith('annealed bits/dim')
        assert lines['grey levels, both'] and '(low)' in lines['direct - annealed']
    for damage in ('', '{}'):
        pathlib.Path(direct.split()[-1]).write_text(damage)
        with pytest.raises(TypeError, match='not callable'):
            call(capsys, *given)


def test_what_does_not_go_together_is_refused(capsys, run, tmp_path):
    new = [*OPTIONS, f'--workdir={tmp_path}/w']
    assert 'does not go with --objective=dsm' in refused(capsys, *new, '--objective=dsm', '--act=swish')
    assert '--act=swish' in refused(capsys, *new, '--act=lrelu')
    for name in LOSSES_OF_HEIGHTS:
        heights = f'--{name}=0.5'
        line = refused(capsys, *TINY, f'--workdir={tmp_path}/t6', heights)
        assert line.endswith(f'{heights} needs --objective=score_matching')
    assert '--initializer' in refused(capsys, *new, '--initializer')
    assert '--levels=continuous needs' in refused(
        capsys, *TINY, f'--workdir={tmp_path}/t6', '--levels=continuous'
    )
    assert '--levels=walk' in refused(
        capsys, *new, '--levels=walk', '--mode=train,likelihood', '--method=direct'
    )
    assert '--method=ais' in refused(
        capsys, *TINY, f'--workdir={tmp_path}/t6', '--mode=train,likelihood', '--method=direct'
    )
