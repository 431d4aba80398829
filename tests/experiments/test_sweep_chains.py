"""The table of noise levels, chain steps and correctors."""

import csv
import json

import pytest
from helpers.tiny import TINY, call, refused

from drl_tf.experiments.sweep_chains import rows_of

OPTIONS = [
    *TINY, '--recipe=preconditioned', '--mcmc_steps=0', '--image_size=8', '--num_levels=2', '--train_steps=2',
    '--warmup_steps=0', '--decay_steps=0', '--precision=float32',
]  # fmt: skip
SCORED = ['--num_samples=6', '--num_real=32', '--precision=float32']
KEY = 'frechet_distance_digits_classifier'


def test_rows_without_steps_come_once():
    found = rows_of((1, 6), ('mala', 'langevin'), (0, 3))
    assert found == [
        (1, 0, 'none'), (1, 3, 'mala'), (1, 3, 'langevin'),
        (6, 0, 'none'), (6, 3, 'mala'), (6, 3, 'langevin'),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_row_is_the_evaluation_of_its_options(capsys, tmp_path):
    workdir = f'--workdir={tmp_path}/w'
    assert call(capsys, *OPTIONS, workdir)[0] == 0
    varied = ['--sweep_levels=1,2', '--sweep_mcmc_steps=0,2', '--sweep_correctors=mala,langevin']
    code, _, err = call(capsys, '--mode=sweep_chains', workdir, *SCORED, *varied)
    assert code == 0, err
    (table,) = (tmp_path / 'w' / 'sweep_chains').glob('*/scores.csv')
    with open(table, encoding='utf-8') as file:
        rows = {row['chains']: row for row in csv.DictReader(file)}
    assert list(rows) == [
        'T1_K0_none', 'T1_K2_mala', 'T1_K2_langevin', 'T2_K0_none', 'T2_K2_mala', 'T2_K2_langevin',
    ]  # fmt: skip
    assert 0 < float(rows['T2_K2_mala']['acceptance']) <= 1 and not rows['T2_K2_langevin']['acceptance']
    for name, chain in (
        ('T2_K2_mala', ['--mcmc_steps=2']),
        ('T2_K2_langevin', ['--mcmc_steps=2', '--corrector=langevin', '--corrector_step=0.1']),
    ):
        assert call(capsys, '--mode=evaluate', workdir, *SCORED, *chain)[0] == 0
        written = max(
            (tmp_path / 'w' / 'evaluation').glob('*.json'), key=lambda path: path.stat().st_mtime_ns
        )
        assert float(rows[name][KEY]) == pytest.approx(json.loads(written.read_text())[KEY], rel=1e-6)
    assert table.with_name('scores.png').stat().st_size > 1000


def test_energies_of_given_levels_alone_are_refused(capsys, tiny_run):
    said = refused(capsys, '--mode=sweep_chains', f'--workdir={tiny_run}')
    assert 'needs energies at any noise level, not --energy=paper' in said


def test_unknown_correctors_are_refused(capsys):
    said = refused(capsys, '--mode=sweep_chains', '--model=digits', '--sweep_correctors=mala,nuts')
    assert '--sweep_correctors=nuts must be one of langevin, mala, hmc' in said
