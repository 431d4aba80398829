"""The search for samplers: it measures what an evaluation measures, goes on where it ended, and its result
is used when asked."""

import csv
import json
import pathlib
import shutil

import numpy as np
import pytest
from helpers import golden
from helpers.tiny import call, refused, scores, set_options

from drl_tf.config import config as configuration
from drl_tf.config import tuned
from drl_tf.runs import checkpoint, samples

SCORED = ['--num_samples=6', '--num_real=32', '--precision=float32']
KEY = 'frechet_distance_digits_classifier'


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The workdir of a run of t6 with K = 3 and two levels."""
    workdir = golden.copied('t6', tmp_path_factory.mktemp('t6') / 'w')
    set_options(workdir, mcmc_steps=(3,))
    return workdir


@pytest.fixture
def tune(run, capsys):
    """Calls the search for so many settings in all; returns its output and the directory of its results."""

    def search(settings, *more):
        code, out, err = call(
            capsys, '--mode=tune_sampler', f'--workdir={run}', *SCORED, f'--tune_settings={settings}', *more
        )
        assert code == 0, err
        return out, max((run / 'tune_sampler').glob('*/'), key=lambda path: path.stat().st_mtime_ns)

    return search


@pytest.fixture(scope='module')
def log_densities(tmp_path_factory):
    """The workdir of a run of classes whose energies are log densities at all levels, with T = 2."""
    return golden.copied('preconditioned', tmp_path_factory.mktemp('preconditioned') / 'w')


def rows(directory):
    with open(directory / 'settings.csv', encoding='utf-8') as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_search_goes_on_and_stores_the_best(tune, run, capsys):
    first, directory = tune(4)
    assert first.count('\nsetting ') == 4
    found = rows(directory)
    assert [(row['sampling_steps'], row['langevin_rule'], row['gradients']) for row in found] == [
        ('', 'plain', '6'), ('1', 'plain', '2'), ('2', 'plain', '4'), ('2', 'ab2', '4'),
    ]  # fmt: skip
    assert not found[1]['agreement'] and found[0]['num_levels'] == '2'
    assert {row['setting'] for row in found if row['best'] == '1'} <= set('0123')

    # The same command measures nothing, and one that allows more goes on.
    again, _ = tune(4)
    assert 'setting 0' not in again and rows(directory) == found
    more, _ = tune(5)
    assert more.count('\nsetting ') == 1 and rows(directory)[:4] == [
        {**row, 'best': now['best'], 'front': now['front']}
        for row, now in zip(found, rows(directory), strict=False)
    ]
    assert (directory / 'pareto.png').stat().st_size > 1000 and (directory / '000.png').exists()
    assert not list(directory.glob('*/*.npz'))

    # A row is the evaluation of its options.
    _, written = scores(
        capsys, '--mode=evaluate', f'--workdir={run}', *SCORED, '--sampling_steps=2', '--langevin_rule=ab2'
    )
    assert float(found[3]['distance']) == pytest.approx(written[KEY], rel=1e-6)
    assert written['gradients_per_image'] == 4

    # The stored sampler is drawn from only when asked, and options that are given take precedence.
    best = json.loads((run / 'tuned_sampler.json').read_text())
    assert best['measured']['num_samples'] == 6
    best['options'] |= {'sampling_steps': [2], 'langevin_rule': 'ab2', 'noise_scale': 0.5}
    (run / 'tuned_sampler.json').write_text(json.dumps(best))
    sample = ['--mode=sample', '--num_samples=2', '--precision=float32']

    def drawn(*options):
        code, out, err = call(capsys, f'--workdir={run}', *sample, *options)
        assert code == 0, err
        return np.concatenate(list(samples.read(out.split()[-1], (8, 8, 1)))), out

    tuned, said = drawn('--sampler=tuned')
    assert 'sampler: tuned' in said and '--langevin_rule=ab2' in said and '--sigma_min' not in said
    explicit, said = drawn('--sampling_steps=2', '--langevin_rule=ab2', '--noise_scale=0.5')
    assert 'sampler: tuned' not in said
    np.testing.assert_array_equal(tuned, explicit)
    own, plain = (drawn(*options)[0] for options in ([], ['--sampler=tuned', '--langevin_rule=plain']))
    assert (own != tuned).any() and (plain != tuned).any() and (plain != own).any()


def test_results_of_other_weights_are_put_aside(tune, run):
    _, directory = tune(0, '--num_samples=4', '--tune_minutes=1e-9')
    assert len(rows(directory)) == 1  # No more than one in so short a time.
    path = directory / 'settings.json'
    stored = json.loads(path.read_text())
    stored['measured_with']['source'] = 'of other weights'
    path.write_text(json.dumps(stored))
    out, _ = tune(1, '--num_samples=4')
    assert out.count('\nsetting 0') == 1 and (directory.parent / f'{directory.name}.1' / path.name).exists()


def test_a_budget_of_gradients_leaves_out_what_costs_more(tune, run):
    _, directory = tune(3, '--num_samples=5', '--tune_gradients=2')
    assert [row['gradients'] for row in rows(directory)] == ['6', '2', '2']
    assert json.loads((run / 'tuned_sampler.json').read_text())['measured']['gradients'] == 2


def test_other_numbers_of_levels_have_sets_of_their_own(capsys, log_densities):
    """A tuned sampler of log densities can have a T that is not that of the run; its samples get a name."""
    workdir = f'--workdir={log_densities}'
    code, _, err = call(capsys, '--mode=tune_sampler', workdir, *SCORED, '--tune_settings=2')
    assert code == 0, err
    (directory,) = (log_densities / 'tune_sampler').iterdir()
    assert [row['num_levels'] for row in rows(directory)] == ['2', '3']
    assert all(0 <= float(row['agreement']) <= 1 for row in rows(directory))
    path = log_densities / 'tuned_sampler.json'
    best = json.loads(path.read_text())
    best['options']['num_levels'] = 3
    path.write_text(json.dumps(best))
    _, written = scores(capsys, '--mode=evaluate', workdir, *SCORED, '--sampler=tuned')
    assert written[KEY] == pytest.approx(float(rows(directory)[1]['distance']), rel=1e-6)
    assert (written['num_levels'], written['gradients_per_image']) == (3, 4)
    assert len(list((log_densities / 'samples').glob('*num_levels3*'))) == 1
    assert scores(capsys, '--mode=evaluate', workdir, *SCORED, '--num_levels=3')[1] == written


def test_other_levels_are_for_samples_of_log_densities(capsys, log_densities, tiny_run):
    """Other energies are known at the levels of training only; log Z and exports keep those of the run."""
    for run, mode in ((log_densities, 'likelihood'), (log_densities, 'sample,export'), (tiny_run, 'sample')):
        code, _, err = call(capsys, f'--mode={mode}', f'--workdir={run}', '--num_levels=3')
        assert code == 2 and 'was trained with other options: --num_levels=3 here' in err
    for mode in ('likelihood', 'sample,export'):
        code, _, err = call(capsys, f'--mode={mode}', f'--workdir={log_densities}', '--sigma_min=0.1')
        assert code == 2 and 'was trained with other options: --sigma_min=0.1 here' in err


def test_a_walk_may_end_elsewhere(capsys, log_densities):
    """Samples begin and end at the noise of the options, and have a set of their own."""
    ends = ['--sigma_min=0.1', '--sigma_max=5']
    _, written = scores(capsys, '--mode=evaluate', f'--workdir={log_densities}', *SCORED, *ends)
    _, before = scores(capsys, '--mode=evaluate', f'--workdir={log_densities}', *SCORED)
    assert written['gradients_per_image'] == before['gradients_per_image'] and written[KEY] != before[KEY]
    assert (written['sigma_min'], written['sigma_max']) == (0.1, 5)
    assert len(list((log_densities / 'samples').glob('*sigma_max5*'))) == 1
    sweep = ['--mode=sweep_chains', f'--workdir={log_densities}', *SCORED]
    code, _, err = call(capsys, *sweep, '--sweep_levels=2', '--sweep_mcmc_steps=0', *ends)
    assert code == 0, err
    (table,) = (log_densities / 'sweep_chains').glob('*/scores.csv')
    assert float(next(csv.DictReader(table.read_text().splitlines()))[KEY]) == pytest.approx(
        written[KEY], rel=1e-6
    )
    code, _, err = call(capsys, *sweep, '--num_levels=3')
    assert code == 2 and 'was trained with other options: --num_levels=3 here' in err


def test_samples_that_are_not_finite_end_no_search(tune, monkeypatch):
    """The setting is noted, is on no front, and the search goes on."""
    from drl_tf.core import energy_model

    scale = energy_model.larger_steps.scale
    monkeypatch.setattr(
        energy_model.larger_steps,
        'scale',
        lambda config, walk: np.nan * scale(config, walk) if config.sampling.sampling_steps else 1.0,
    )
    out, directory = tune(2, '--num_samples=3')
    assert 'setting 1: 2 gradients, the samples are not finite' in out
    assert [(row['distance'] != '', row['front']) for row in rows(directory)] == [(True, '1'), (False, '0')]


def test_a_tuned_sampler_that_is_missing_or_damaged(capsys, tmp_path, tiny_run):
    asked = ['--mode=sample', '--sampler=tuned']
    assert 'holds no tuned_sampler.json: run --mode=tune_sampler' in refused(
        capsys, *asked, f'--workdir={tiny_run}'
    )
    (tmp_path / 'config.json').write_text((tiny_run / 'config.json').read_text())
    for text in ('{', '[]', '{"options": {"channels": 4}}', '{"options": 1}'):
        (tmp_path / 'tuned_sampler.json').write_text(text)
        line = refused(capsys, *asked, f'--workdir={tmp_path}')
        assert 'tuned_sampler.json is damaged' in line and '--mode=tune_sampler' in line


def test_a_sampler_tuned_for_other_weights_is_refused(capsys, tmp_path, tiny_run):
    run = str(shutil.copytree(tiny_run, tmp_path / 'run'))
    asked = ['--mode=sample', '--sampler=tuned', f'--workdir={run}', '--num_samples=2', '--precision=float32']
    path = tuned.save(run, tuned.options_of(configuration.load(run)), {}, checkpoint.fingerprint(run, 16))
    line = refused(capsys, *asked)
    assert f'{path} was tuned for other weights: run --mode=tune_sampler again' in line
    assert call(capsys, *asked, '--checkpoint_step=16')[0] == 0
    older = json.loads(pathlib.Path(path).read_text())
    del older['source']
    pathlib.Path(path).write_text(json.dumps(older))
    assert call(capsys, *asked, '--checkpoint_step=16')[0] == 0


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--mode=sample', '--sampler=best'], ['--sampler=best', 'run, tuned']),
        (['--mode=export', '--sampler=tuned'], ['--sampler is for --mode=sample,evaluate']),
        (['--mode=sample,export', '--sampler=tuned'], ['--sampler=tuned', 'run export in a command']),
        (['--mode=tune_sampler', '--mcmc_steps=3'], ['--mcmc_steps is for']),
        (['--mode=tune_sampler', '--tune_minutes=-1'], ['--tune_minutes=-1', 'at least 0']),
        (['--mode=tune_sampler', '--num_samples=1'], ['--num_samples=1', 'at least 2']),
        (['--mode=sample', '--tune_settings=3'], ['--tune_settings is for --mode=tune_sampler']),
    ],
)
def test_bad_input_is_refused_in_one_line(capsys, tiny_run, options, words):
    line = refused(capsys, f'--workdir={tiny_run}', *options)
    assert all(word in line for word in words), line
