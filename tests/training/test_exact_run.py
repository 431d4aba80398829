"""A run with exact energies on the command line and in Python."""

import csv
import json
import shutil

import numpy as np
import pytest
from helpers.serving import export_only
from helpers.tiny import TINY, call, refused, sampled

import drl_tf
from drl_tf.base.errors import UserError
from drl_tf.config.data_options import Data
from drl_tf.data import dataset_table, pipeline

OPTIONS = [
    '--recipe=preconditioned', '--energy=exact', '--image_size=8', '--precision=float32',
    '--sample_batch_size=16', '--exact_images=40',
]  # fmt: skip


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('exact') / 'run'
    from drl_tf.cli.main import main

    assert main(['run.py', *OPTIONS, f'--workdir={workdir}']) == 0
    return workdir


def train_images():
    return pipeline.load_images(Data('digits', image_size=8), 'train', 40).astype(int)


def test_the_command_line_samples_and_scores_it(run, capsys):
    images, _ = sampled(capsys, run, '--mode=sample', '--num_samples=20', side=8)
    nearest = np.abs(images[:, None] - train_images()[None]).mean(axis=(2, 3, 4))
    assert nearest.min(axis=1).max() < 3
    np.testing.assert_array_equal(nearest.argmin(axis=1) % 10, np.arange(20) % 10)
    code, out, err = call(
        capsys, f'--workdir={run}', '--mode=evaluate', '--num_samples=20', '--num_real=100', '--mcmc_steps=1'
    )
    assert code == 0 and 'Fréchet distance' in out, err


@pytest.mark.slow
def test_every_corrector_stays_at_the_images_of_the_class(run, capsys):
    """All samples of a sweep over correctors have the class that was asked for."""
    varied = ['--sweep_levels=2', '--sweep_mcmc_steps=2', '--sweep_correctors=langevin,mala,hmc']
    words = ['--mode=sweep_chains', '--num_samples=20', '--num_real=100', '--precision=float32']
    code, _, err = call(capsys, f'--workdir={run}', *words, *varied)
    assert code == 0, err
    (table,) = (run / 'sweep_chains').glob('*/scores.csv')
    with open(table, encoding='utf-8') as file:
        agreement = {row['chains']: float(row['class_agreement']) for row in csv.DictReader(file)}
    assert agreement == dict.fromkeys(('T2_K2_langevin', 'T2_K2_mala', 'T2_K2_hmc'), 1)


def test_the_images_are_stored_once(run, capsys):
    config = json.loads((run / 'config.json').read_text())
    assert config['data']['exact_images'] == 40
    assert [path.name for path in (run / 'checkpoints').iterdir()] == ['00000000']
    before = (run / 'checkpoints' / '00000000' / 'state.index').stat().st_mtime_ns
    assert call(capsys, *OPTIONS, f'--workdir={run}')[0] == 0
    assert (run / 'checkpoints' / '00000000' / 'state.index').stat().st_mtime_ns == before
    line = refused(capsys, *OPTIONS[:-1], '--exact_images=30', '--dataset=digits', f'--workdir={run}')
    assert '--exact_images=30 here, 40 there' in line


def test_more_images_than_there_are_are_refused(capsys, tmp_path):
    """The run would store fewer, and refuse the same command when it is given again."""
    command = [*OPTIONS[:-1], '--exact_images=5000', f'--workdir={tmp_path}/w']
    assert '--exact_images=5000 must be at most 4000, or 0 for all images' in refused(capsys, *command)


@pytest.mark.parametrize('flag', ['--exact_images=5000', '--num_classes=-1'])
def test_a_restart_that_is_refused_moves_nothing(run, capsys, tmp_path, flag):
    shutil.copytree(run, tmp_path / 'w')
    command = [*OPTIONS[:-1], '--exact_images=5', flag, '--restart', f'--workdir={tmp_path}/w']
    assert '--exact_images=5' in refused(capsys, *command)
    assert (tmp_path / 'w' / 'checkpoints' / '00000000').is_dir() and not (tmp_path / 'w.1').exists()


def test_python_loads_it(run, tmp_path, monkeypatch):
    model = drl_tf.EnergyModel.from_preset(run)
    images = model.generate(4, labels=7)
    assert np.abs(images[:, None].astype(int) - train_images()[7::10][None]).mean(axis=(2, 3, 4)).min() < 3
    energies = model.energy(train_images()[:10].astype(np.uint8), level=0, labels=np.arange(10))
    assert np.ptp(energies) < 1 < np.abs(energies).min()
    with pytest.raises(UserError, match='no weights to train'):
        model.fit(images, labels=[7] * 4, verbose=0)
    export_only(monkeypatch, 'sample')
    again = drl_tf.EnergyModel.from_preset(model.export(tmp_path / 'export', max_samples=8))
    np.testing.assert_allclose(again.generate(4, labels=7).astype(int), images, atol=1)


def test_mirrored_datasets_count_mirror_images(tmp_path, monkeypatch):
    monkeypatch.setitem(
        dataset_table.DATASETS, 'digits', dataset_table.DATASETS['digits'].__class__(
            **{**vars(dataset_table.DATASETS['digits']), 'flip': True}
        )
    )  # fmt: skip
    images, labels = pipeline.noisy_set(Data('digits', image_size=16, num_classes=10, exact_images=7))
    assert images.shape == (7, 16, 16, 1)
    np.testing.assert_array_equal(labels, [1, 1, 2, 2, 3, 3, 4])
    np.testing.assert_array_equal(images[1], images[0, :, ::-1])
    assert (images[0] != images[1]).any()


@pytest.mark.parametrize(
    ('flags', 'part'),
    [
        (['--exact_images=5', '--num_classes=-1'], '--exact_images=5 leaves no image of class 5'),
        (['--time_score=1'], '--time_score=1 is a loss, and --energy=exact is not trained'),
        (['--evaluate_every=8'], '--evaluate_every=8 evaluates in training'),
        (['--dry_run'], '--energy=exact is not trained'),
        (['--init_from=elsewhere'], '--init_from=elsewhere gives weights'),
        (['--dataset=toy_two_moons'], '--energy=exact needs training images'),
        (['--recipe=cdrl', '--initializer'], '--initializer starts the chains of --energy=paper'),
        (['--energy=paper', '--exact_images=5'], '--exact_images=5 is for --energy=exact'),
    ],
)
def test_what_does_not_go_with_it(capsys, tmp_path, flags, part):
    options = [*TINY, '--recipe=preconditioned', '--energy=exact', f'--workdir={tmp_path}/run']
    if '--dataset=toy_two_moons' in flags:
        options = ['--energy=exact', f'--workdir={tmp_path}/run']
    assert part in refused(capsys, *options, *flags)
