"""What a page takes from a model: its file, and the distance between energies."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from drl_tf.report import measured
from drl_tf.report.measured import Measured


def example(**changes):
    rng = np.random.default_rng(0)
    fields = {
        'settings': '{"seed": 0}',
        'step': 7,
        'levels': np.arange(2),
        'noise': np.array([0.1, 0.9]),
        'train': rng.normal(size=(2, 5)),
        'held_out': rng.normal(size=(2, 4)),
        'sampled': rng.normal(size=(2, 6)),
        'states': rng.integers(0, 256, (3, 2, 4, 4, 1)).astype(np.uint8),
        'state_levels': np.array([2, 1, 0]),
        'state_energies': rng.normal(size=(3, 2)),
    }
    return Measured(**{**fields, **changes})


def test_a_file_gives_back_what_was_saved(tmp_path):
    saved = example()
    saved.save(str(tmp_path))
    problems = []
    loaded = measured.load(str(tmp_path), problems)
    for name, value in dataclasses.asdict(saved).items():
        np.testing.assert_array_equal(getattr(loaded, name), value)
    assert not problems and (loaded.settings, loaded.step) == ('{"seed": 0}', 7)


def test_a_missing_file_is_no_problem(tmp_path):
    problems = []
    assert measured.load(str(tmp_path), problems) is None and not problems


@pytest.mark.parametrize('kept', [0, 10, 300])
def test_a_damaged_file_is_one_sentence(tmp_path, kept):
    example().save(str(tmp_path))
    path = tmp_path / measured.FILE_NAME
    path.write_bytes(path.read_bytes()[:kept])
    problems = []
    assert measured.load(str(tmp_path), problems) is None
    (problem,) = problems
    assert problem.startswith('report.npz is damaged') and '\n' not in problem


@pytest.mark.parametrize(
    'changes',
    [
        {'states': np.zeros((3, 2, 4, 4, 1))},
        {'state_energies': np.zeros((3, 3))},
        {'held_out': np.zeros((3, 4))},
        {'noise': np.zeros(3)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes):
    with pytest.raises(ValueError, match='do not fit'):
        example(**changes)


def test_the_distance_of_two_gaussians_is_that_of_their_distribution_functions():
    """D = 2 Phi(shift / 2) - 1 for equal deviations."""
    x = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    for shift in (0.0, 0.5, 2.0):
        expected = 2 * stats.norm.cdf(shift / 2) - 1
        assert measured.distance(x, x + shift) == pytest.approx(expected, abs=1e-3)


def test_chance_exceeds_its_bound_in_a_twentieth_of_all_cases():
    rng = np.random.default_rng(0)
    bound = measured.chance(200, 300)
    found = [measured.distance(rng.normal(size=200), rng.normal(size=300)) > bound for _ in range(2000)]
    assert 0.03 < np.mean(found) < 0.07
