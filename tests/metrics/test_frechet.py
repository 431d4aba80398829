import numpy as np
import pytest
import scipy.linalg

from drl_tf.errors import UserError
from drl_tf.metrics.frechet import frechet_distance


def correlated(seed, num_samples, dimensions=64):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(num_samples, dimensions)) @ generator.normal(size=(dimensions, dimensions))


def standardised(seed, num_samples, dimensions):
    """Samples whose mean is 0 and whose unbiased covariance is the identity, to rounding."""
    samples = correlated(seed, num_samples, dimensions)
    samples -= samples.mean(axis=0)
    return samples @ np.linalg.inv(np.linalg.cholesky(np.cov(samples.T))).T


def test_agrees_with_scipy_in_float64():
    real, fake = correlated(0, 500), correlated(1, 700) + 1
    c, c_fake = np.cov(real.T), np.cov(fake.T)
    shift = np.sum((real.mean(axis=0) - fake.mean(axis=0)) ** 2)
    expected = shift + np.trace(c + c_fake - 2 * scipy.linalg.sqrtm(c @ c_fake).real)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-10)


def test_agrees_with_the_closed_form_for_commuting_covariances():
    mean, deviation = np.array([1.0, -2.0, 0.5]), np.array([3.0, 1.0, 0.2])
    other_deviation = np.array([1.0, 2.0, 0.1])
    real = standardised(0, 200, 3) * deviation
    fake = standardised(1, 300, 3) * other_deviation + mean
    expected = np.sum(mean**2) + np.sum((deviation - other_deviation) ** 2)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-10)


def test_no_distance_from_itself_and_the_square_of_a_shift():
    real = correlated(0, 300)
    shift = np.linspace(-1, 1, 64)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(real, real + shift) == pytest.approx(np.sum(shift**2), abs=1e-8)


def test_float32_features_are_computed_in_float64():
    real, fake = correlated(0, 300).astype(np.float32), correlated(1, 300).astype(np.float32)
    assert frechet_distance(real, fake) == frechet_distance(real.astype(np.float64), fake.astype(np.float64))


@pytest.mark.parametrize('shape', [(10, 3), (1, 4), (40,), (10, 2, 2)])
def test_wrong_shapes(shape):
    with pytest.raises(UserError, match='must be'):
        frechet_distance(np.ones([10, 4]), np.ones(shape))


def test_nan():
    features = correlated(0, 10, 4)
    with pytest.raises(UserError, match='finite'):
        frechet_distance(features, np.where(features > 1, np.nan, features))
