"""The table of noise levels, chain steps and correctors."""

import csv

import pytest
from helpers import golden
from helpers.tiny import call, refused, scores

from drl_tf.config import config as configuration
from drl_tf.experiments import sweep
from drl_tf.experiments.sweep_chains import rows_of, sweep_chains

SCORED = ['--num_samples=6', '--num_real=32', '--precision=float32']
KEY = 'frechet_distance_digits_classifier'


def test_rows_without_steps_come_once():
    found = rows_of((1, 6), ('mala', 'langevin'), (0, 3))
    assert found == [
        (1, 0, 'none'), (1, 3, 'mala'), (1, 3, 'langevin'),
        (6, 0, 'none'), (6, 3, 'mala'), (6, 3, 'langevin'),
    ]  # fmt: skip


def test_variants_have_the_options_of_their_rows(monkeypatch):
    """Langevin chains alone have a step of their own. A plot has a curve for each number of levels, which
    shares the point without chains."""
    seen = []
    monkeypatch.setattr(sweep, 'score_variants', lambda *arguments: seen.append(arguments[2]))
    workdir = str(golden.DIRECTORY / 'preconditioned')
    sweep_chains(configuration.load(workdir), workdir, None, (1, 2), ('mala', 'langevin'), (0, 2))
    (swept,) = seen
    names = ('num_levels', 'mcmc_steps', 'corrector', 'corrector_step')
    found = {row: tuple(changes[name] for name in names) for row, changes in swept.variants.items()}
    assert found == {
        'T1_K0_none': (1, (0,), 'none', 0.0), 'T1_K2_mala': (1, (2,), 'mala', 0.0),
        'T1_K2_langevin': (1, (2,), 'langevin', 0.1),
        'T2_K0_none': (2, (0,), 'none', 0.0), 'T2_K2_mala': (2, (2,), 'mala', 0.0),
        'T2_K2_langevin': (2, (2,), 'langevin', 0.1),
    }  # fmt: skip
    assert swept.panels([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == {
        'mala': {'T = 1': {0: 1.0, 2: 2.0}, 'T = 2': {0: 4.0, 2: 5.0}},
        'langevin': {'T = 1': {0: 1.0, 2: 3.0}, 'T = 2': {0: 4.0, 2: 6.0}},
    }


@pytest.mark.slow
def test_a_row_is_the_evaluation_of_its_options(capsys, tmp_path):
    workdir = f'--workdir={golden.copied("preconditioned", tmp_path / "w")}'
    varied = ['--sweep_levels=1', '--sweep_mcmc_steps=2', '--sweep_correctors=mala,langevin']
    code, _, err = call(capsys, '--mode=sweep_chains', workdir, *SCORED, *varied)
    assert code == 0, err
    (table,) = (tmp_path / 'w' / 'sweep_chains').glob('*/scores.csv')
    with open(table, encoding='utf-8') as file:
        mala, langevin = csv.DictReader(file)
    assert (mala['chains'], langevin['chains']) == ('T1_K2_mala', 'T1_K2_langevin')
    assert 0 < float(mala['acceptance']) <= 1 and not langevin['acceptance']
    options = ['--num_levels=1', '--mcmc_steps=2']
    _, written = scores(capsys, '--mode=evaluate', workdir, *SCORED, *options)
    assert float(mala[KEY]) == pytest.approx(written[KEY], rel=1e-6) != float(langevin[KEY])
    assert table.with_name('scores.png').stat().st_size > 1000


def test_energies_of_given_levels_alone_are_refused(capsys, class_run):
    said = refused(capsys, '--mode=sweep_chains', f'--workdir={class_run}')
    assert 'needs energies at any noise level, not --energy=paper' in said


def test_unknown_correctors_are_refused(capsys):
    said = refused(capsys, '--mode=sweep_chains', '--model=digits', '--sweep_correctors=mala,nuts')
    assert '--sweep_correctors=nuts must be one of langevin, mala, hmc' in said
