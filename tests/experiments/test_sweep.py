"""Sweeps of the guidance and of the number of steps: which values, and what they leave."""

import csv

import pytest
from helpers import golden
from helpers.tiny import call

from drl_tf.base.errors import UserError
from drl_tf.config import config as configuration
from drl_tf.experiments import sweep


@pytest.mark.parametrize(
    ('levels', 'steps'),
    [(6, [3, 5, 8, 15, 30]), (2, [9, 15, 24, 45, 90]), (12, [2, 3, 4, 8, 15]), (100, [1, 2, 3, 4, 5])],
)
def test_no_two_rows_have_the_same_number_of_steps(levels, steps):
    assert sweep.steps_of_level(levels) == steps


def test_gradients_are_those_of_the_levels_that_are_visited(monkeypatch):
    """One of two levels: half of the gradients, and the time of its own chain."""
    swept = []
    monkeypatch.setattr(sweep, 'score_variants', lambda *arguments: swept.append(arguments[2]))
    run = str(golden.DIRECTORY / 't6')
    config = configuration.load(run)
    for levels in (0, 1):
        sweep.sweep_steps(config.replace(sampling_levels=levels), run, None)
    both, one = (list(each.variants.items()) for each in swept)
    assert [count for count, _ in both] == [2 * K for K in sweep.steps_of_level(2)]
    assert [count for count, _ in one] == sweep.steps_of_level(1)
    assert one[0][1]['step_scale'] == pytest.approx((2 / 18) ** 0.5)


def test_models_without_chains_have_a_row_for_each_number_of_levels(monkeypatch):
    swept = []
    monkeypatch.setattr(sweep, 'score_variants', lambda *arguments: swept.append(arguments[2]))
    run = str(golden.DIRECTORY / 't1k')
    config = configuration.load(run)
    with pytest.raises(UserError, match='2 noise levels, no more than 18'):
        sweep.sweep_steps(config, run, None)
    many = config.replace(num_levels=40)
    monkeypatch.setattr(configuration, 'load', lambda workdir: many)
    sweep.sweep_steps(many, run, None)
    assert swept[0].variants == {count: {'sampling_levels': count} for count in (18, 30, 40)}


@pytest.mark.slow
@pytest.mark.parametrize(('mode', 'name', 'values', 'num_real'), [
    ('sweep_guidance', 'guidance', [0, 0.5, 1, 2, 3], 0),
    ('sweep_steps', 'evaluations', [18, 30, 48, 90, 180], 500),
])  # fmt: skip
def test_sweeps(class_run, capsys, monkeypatch, mode, name, values, num_real):
    """Of the values that are swept, the first and the last are tried here."""
    assert list(getattr(sweep, name.upper())) == values
    values = [values[0], values[-1]]
    monkeypatch.setattr(sweep, name.upper(), values)
    code, _, err = call(
        capsys, f'--mode={mode}', f'--workdir={class_run}', '--num_samples=20', f'--num_real={num_real}'
    )
    assert code == 0, err
    root = class_run / mode / '00000004-ema-20-seed0'
    with open(root / 'scores.csv', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [float(row[name]) for row in rows] == values
    assert all(
        float(row['frechet_distance_digits_classifier']) > 1 and 0 <= float(row['class_agreement']) <= 1
        for row in rows
    )
    if name == 'evaluations':
        assert all(int(row['mcmc_steps']) * float(row['step_scale']) ** 2 == pytest.approx(2) for row in rows)
    assert (root / 'scores.png').stat().st_size > 1000 and len(list(root.glob('*.png'))) == 3
