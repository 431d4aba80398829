"""log Z of a model of points whose density is a known Gaussian."""

import numpy as np
import pytest

from drl_tf.cli import parsing
from drl_tf.core.build_model import build_model
from drl_tf.data import plane
from drl_tf.experiments.heights_of_points import of_points
from drl_tf.runs.heights import Heights

STD = 0.4
OPTIONS = [
    '--dataset=toy_two_moons', '--recipe=preconditioned', '--num_levels=6', '--channels=8',
    '--data_mean=0.2,0.2', f'--data_std={STD}', '--recovery_nce=0', '--precision=float32',
]  # fmt: skip


@pytest.fixture
def gaussian_points(monkeypatch):
    """Points with the mean and the deviation of `OPTIONS`, in the place of the dataset's."""
    rng = np.random.default_rng(0)
    points = rng.normal(0.2, STD, [4000, *plane.IMAGE_SHAPE]).astype(np.float32)
    monkeypatch.setattr('drl_tf.experiments.heights_of_points.plane.points', lambda *_: points)
    return points


def test_constants_and_typical_values_of_an_untrained_model(gaussian_points):
    """Before training, the density is N(mean, STD^2) with noise, and normalised."""
    model = build_model(parsing.configuration_of(OPTIONS))
    found = of_points(model, 'ema')
    np.testing.assert_allclose(found.log_z, 0, atol=1e-3)
    level, schedule = model.scoring_level, model.schedule
    variance = schedule.A[level] ** 2 * STD**2 + schedule.S[level] ** 2
    squares = (schedule.A[level] * (gaussian_points - 0.2) / np.sqrt(variance)).astype(float) ** 2
    log_p = -np.log(2 * np.pi * variance) - squares.sum(axis=(1, 2, 3)) / 2
    assert found.typical_mean == pytest.approx(log_p.mean(), abs=1e-3)
    assert found.typical_std == pytest.approx(log_p.std(), rel=1e-3)
    assert isinstance(found, Heights)


def test_energies_of_the_paper_have_no_such_constants():
    assert (
        of_points(build_model(parsing.configuration_of(['--dataset=toy_two_moons', '--channels=8'])), 'ema')
        is None
    )
