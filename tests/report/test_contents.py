"""Texts, tables and charts of a page, from files whose content is known."""

import math

import numpy as np
from report.test_measured import example

from drl_tf.config.config import Config
from drl_tf.report import comparison, contents
from drl_tf.report.run_files import RunFiles

LOG = [
    {'step': 10, 'time': 1.0, 'loss': 2.0, 'level_loss': [1.0, None], 'level_displacement': [0.1, 0.2]},
    {'step': 20, 'time': 2.0, 'loss': None, 'level_loss': [3.0, 5.0], 'level_displacement': [0.3, 0.4]},
]
SCORE = {
    'step': 20, 'frechet_distance_digits_classifier': 3.0, 'floor': 0.5, 'precision': 0.25,
    'frechet_distance_digits_classifier_held_out_size': 3.5, 'num_samples': 2048, 'real': '4,000 digits',
}  # fmt: skip


def run_of(**changes):
    fields = {
        'workdir': 'runs/a', 'config': Config().replace(rollback_factor=0.5), 'log': LOG, 'scores': [],
        'results': {}, 'grids': {}, 'rollbacks': [], 'measured': None, 'problems': [],
    }  # fmt: skip
    return RunFiles(**{**fields, **changes})


def test_curves_of_the_chains_are_apart_from_the_others():
    assert list(contents.curves(run_of(rollbacks=[7]), on_chains=False)) == ['loss', 'level_loss']
    (chart,) = contents.curves(run_of(rollbacks=[7]), on_chains=True).values()
    assert [line['y'] for line in chart['lines']] == [[0.1, 0.3], [0.2, 0.4]] and chart['marks'] == [7]


def test_the_loss_comes_first():
    log = [{'step': 1, 'other': 1.0, 'images_per_second': 1.0, 'gradient_norm': 1.0, 'loss': 1.0}]
    assert contents.names_of(log, by_level=False) == ['loss', 'gradient_norm', 'images_per_second', 'other']


def test_a_missing_number_is_a_gap():
    charts = contents.curves(run_of(), on_chains=False)
    assert charts['loss']['lines'][0]['y'] == [2.0, None]
    assert charts['level_loss']['lines'][1]['y'] == [None, 5.0]
    assert contents.number(math.nan) == contents.number(None) == '–'


def test_the_last_line_has_a_row_for_each_level():
    table = contents.last_line(run_of(), on_chains=False)
    assert table.rows == [['0', '3'], ['1', '5']] and table.header == ['level', 'loss']
    assert contents.last_line(run_of(log=[]), on_chains=False) is None
    assert contents.last_numbers(run_of()).rows == [['loss', '–']]
    assert contents.last_numbers(run_of(log=LOG[:1])).rows == [['loss', '2']]
    assert contents.last_numbers(run_of(log=[])) is None


def test_a_thousand_levels_are_thinned_out():
    log = [{'step': 1, 'level_loss': list(range(1000))}]
    (chart,) = contents.curves(run_of(log=log), on_chains=False).values()
    assert [line['y'][0] for line in chart['lines']] == contents.shown_levels(1000)
    assert len(contents.last_line(run_of(log=log), on_chains=False).rows) == 8


def test_scores_stand_beside_their_floor():
    run = run_of(scores=[{**SCORE, 'step': 10}, SCORE], results={'evaluation/a.json': {**SCORE, 'step': 24}})
    table = contents.scores(run)
    assert [row[:6] for row in table.rows] == [
        ['training, step 20', '20', '3', '0.5', '3.5', '0.25'],
        ['evaluation/a.json', '24', '3', '0.5', '3.5', '0.25'],
    ]
    chart = contents.score_chart(run)
    assert [line['label'] for line in chart['lines']] == ['samples', 'held-out images (floor)']
    assert chart['title'] == 'Fréchet distance (digits classifier)'
    assert contents.scores(run_of()) is None and contents.score_chart(run_of()) is None


def test_results_of_another_form_are_no_score():
    results = {'evaluation/a.json': {'something': 1}, 'likelihood/b.json': {'method': 'direct', 'test': 3}}
    assert contents.scores(run_of(results=results)) is None
    assert contents.likelihoods(run_of(results=results)).rows == [['likelihood/b.json', '–', '–']]


def test_likelihoods_of_both_methods():
    results = {
        'likelihood/a.json': {'discrete_low': 1.25, 'discrete_high': 1.5},
        'likelihood/b.json': {'method': 'direct', 'test': {'discrete_bennett': 1.375}},
    }
    rows = contents.likelihoods(run_of(results=results)).rows
    assert rows == [['likelihood/a.json', '1.25', '1.5'], ['likelihood/b.json', '1.375', '1.375']]


def test_acceptance_and_displacement_of_the_chains_of_samples():
    chains = {'corrector': 'mala', 'mcmc_steps': [3, 0], 'acceptance': [0.5, None], 'displacement': [0.25, 0]}
    results = {'samples/a/samples.json': {'chains': chains}, 'evaluation/b.json': {'chains': 'none'}}
    table = contents.sampling_chains(run_of(results=results))
    source = 'samples/a/samples.json, mala'
    assert table.rows == [[source, '0', '3', '0.5', '0.25'], [source, '1', '0', '–', '0']]
    assert contents.sampling_chains(run_of()) is None


def test_acceptance_of_long_chains():
    levels = {'0': {'acceptance': 0.75, 'transitions': 100, 'diverged': False}, '3': {'transitions': 50}}
    table = contents.long_run(run_of(results={'long_run/hmc/metrics.json': {'levels': levels}}))
    assert table.header == ['chains', 'acceptance', 'transitions']
    assert table.rows == [['hmc, level 0', '0.75', '100'], ['hmc, level 3', '–', '50']]
    assert contents.long_run(run_of(results={'long_run/hmc/metrics.json': {'levels': 3}})) is None


def test_each_rollback_halves_the_learning_rates():
    run = run_of(rollbacks=[5, 9], results={'diverged-5.json': {'loss': 1e6, 'gradient_norm': 3.0}})
    assert contents.rollbacks(run).rows == [['1', '5', '1e+06', '3', '0.5'], ['2', '9', '–', '–', '0.25']]
    assert contents.rollbacks(run_of()) is None


def test_overlaps_tell_apart_what_is_apart():
    rng = np.random.default_rng(0)
    train, held_out = rng.normal(size=(2, 2, 300))
    found = example(train=train, held_out=held_out, sampled=train + 3)
    for row in contents.overlaps(found).rows:
        assert row[2].endswith('no further than chance') and row[3].endswith(', apart')
    assert list(contents.energy_charts(found)) == ['energies_0', 'energies_1']


def test_options_that_differ_come_first():
    tables = contents.options(run_of(config=Config().replace(batch_size=7)))
    changed = {row[0]: row[1] for row in tables['Different from the defaults'].rows}
    assert changed['--batch_size'] == '7'
    everything = [row for table in tables.values() for row in table.rows]
    assert {row[0] for row in everything} >= {'--dataset', '--mcmc_steps', '--noise_scale'}


def test_runs_side_by_side():
    other = run_of(workdir='runs/b', config=Config().replace(batch_size=7), log=LOG[:1], measured=example())
    runs = [run_of(), other]
    names = comparison.names(runs)
    assert names == ['a', 'b'] and comparison.names([runs[0], runs[0]]) == ['runs/a', 'runs/a']
    charts = comparison.curves(dict(zip(names, runs, strict=True)))
    assert [line['y'] for line in charts['level_loss']['lines']] == [[1.0, 4.0], [1.0]]
    rows = {row[0]: row[1:] for row in comparison.options(names, runs).rows}
    assert rows['--batch_size'][1] == '7' and rows['last step'] == ['20', '10']
    assert [row[0] for row in comparison.overlaps(names, runs).rows] == ['b, step 7'] * 2
    assert comparison.scores(names, runs) is None


def test_a_run_that_does_not_log_a_quantity_says_so():
    runs = {'a': run_of(), 'b': run_of(log=[{'step': 1, 'other': 1.0}])}
    labels = [line['label'] for line in comparison.curves(runs)['loss']['lines']]
    assert labels == ['a', 'b (not logged)']
