import numpy as np
import pytest
import scipy.linalg

from drl_tf.base.errors import UserError
from drl_tf.data import digits
from drl_tf.evaluation.metrics import digits_classifier
from drl_tf.evaluation.metrics.frechet import frechet_distance, frechet_distance_from_moments


def correlated(seed, num_samples, dimensions=64):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(num_samples, dimensions)) @ generator.normal(size=(dimensions, dimensions))


def standardised(seed, num_samples, dimensions):
    """Samples whose mean is 0 and whose unbiased covariance is the identity, to rounding."""
    samples = correlated(seed, num_samples, dimensions)
    samples -= samples.mean(axis=0)
    return samples @ np.linalg.inv(np.linalg.cholesky(np.cov(samples.T))).T


def random_network(images, d):
    """Activations of a random network of two layers, float32 [N, d]."""
    generator = np.random.default_rng(0)
    x = images.reshape(len(images), -1) / 127.5 - 1
    for outputs in (256, d):
        x = np.maximum(x @ generator.normal(size=(x.shape[1], outputs)) / np.sqrt(x.shape[1]), 0)
    return x.astype(np.float32)


def by_scipy(real, fake, trace):
    """The distance in float64 with the trace of the square root from a function of both covariances or both
    sets."""
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    shift = np.sum((real.mean(axis=0) - fake.mean(axis=0)) ** 2)
    return shift + np.trace(np.cov(real.T)) + np.trace(np.cov(fake.T)) - 2 * trace(real, fake)


def sqrtm_trace(real, fake):
    return np.trace(scipy.linalg.sqrtm(np.cov(real.T) @ np.cov(fake.T)).real)


def nuclear_norm(real, fake):
    """Tr (C C')^(1/2) is the sum of the singular values of X Y^T, with C = X^T X: no square root of rounding
    errors is taken."""
    x, y = ((features - features.mean(axis=0)) / np.sqrt(len(features) - 1) for features in (real, fake))
    return scipy.linalg.svdvals(x @ y.T).sum()


def test_agrees_with_scipy_in_float64():
    real, fake = correlated(0, 500), correlated(1, 700) + 1
    assert frechet_distance(real, fake) == pytest.approx(by_scipy(real, fake, sqrtm_trace), rel=1e-10)


def test_agrees_with_scipy_on_the_digits_classifier():
    real, fake = (digits_classifier.features(digits.load(split)[0][:1000]) for split in ('train', 'test'))
    distance = frechet_distance(real, fake)
    assert distance == pytest.approx(by_scipy(real, fake, sqrtm_trace), rel=1e-9)
    assert distance == pytest.approx(by_scipy(real, fake, nuclear_norm), rel=1e-9)


@pytest.mark.parametrize('sizes', [(100, 100), (100, 250), (250, 100)])
def test_agrees_with_scipy_on_fewer_real_activations_than_dimensions(sizes):
    """scipy's own root of a singular product is right to about 1e-7 here; the nuclear norm has no such
    loss."""
    real, fake = (
        random_network(digits.load(split)[0][:size], 192)
        for split, size in zip(('train', 'test'), sizes, strict=True)
    )
    distance = frechet_distance(real, fake)
    assert distance == pytest.approx(by_scipy(real, fake, nuclear_norm), rel=1e-10)
    with np.testing.suppress_warnings() as suppress:
        suppress.filter(scipy.linalg.LinAlgWarning)
        assert distance == pytest.approx(by_scipy(real, fake, sqrtm_trace), rel=1e-6)


@pytest.mark.parametrize('scale', [1e-5, 1e5])
def test_scales_as_the_square_of_the_features(scale):
    """tensorflow-gan's own bound of 1e-10 would spoil small features."""
    real, fake = (random_network(digits.load(split)[0][:300], 64) for split in ('train', 'test'))
    assert frechet_distance(real * scale, fake * scale) == pytest.approx(
        frechet_distance(real, fake) * scale**2, rel=1e-5
    )


def test_agrees_with_the_closed_form_for_commuting_covariances():
    mean, deviation = np.array([1.0, -2.0, 0.5]), np.array([3.0, 1.0, 0.2])
    other_deviation = np.array([1.0, 2.0, 0.1])
    real = standardised(0, 200, 3) * deviation
    fake = standardised(1, 300, 3) * other_deviation + mean
    expected = np.sum(mean**2) + np.sum((deviation - other_deviation) ** 2)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-10)
    moments = [np.zeros(3), np.diag(deviation**2), mean, np.diag(other_deviation**2)]
    assert frechet_distance_from_moments(*moments) == pytest.approx(expected, rel=1e-12)


def test_agrees_with_the_closed_form_in_two_dimensions():
    """Tr (C C')^(1/2) = (Tr C C' + 2 sqrt(det C det C'))^(1/2) for any two covariances of a plane."""
    c, other = np.array([[2.0, 0.8], [0.8, 1.0]]), np.array([[0.5, -0.3], [-0.3, 3.0]])
    root = np.sqrt(np.trace(c @ other) + 2 * np.sqrt(np.linalg.det(c) * np.linalg.det(other)))
    expected = 5 + np.trace(c) + np.trace(other) - 2 * root
    assert frechet_distance_from_moments([1, 0], c, [0, 2], other) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    'other, trace',
    [([[0, 0], [0, 0]], 0), ([[0, 0], [0, 9]], 0), ([[9, 0], [0, 0]], 6), ([[8, 4], [4, 2]], 32**0.5)],
)
def test_singular_covariances(other, trace):
    """Against C = diag(4, 0): Tr (C C')^(1/2) = sqrt(4 C'_11), in either order."""
    zero, c, other = np.zeros(2), np.diag([4.0, 0.0]), np.array(other, float)
    expected = 4 + np.trace(other) - 2 * trace
    assert frechet_distance_from_moments(zero, c, zero, other) == pytest.approx(expected, abs=1e-12)
    assert frechet_distance_from_moments(zero, other, zero, c) == pytest.approx(expected, abs=1e-12)


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


@pytest.mark.parametrize(
    'mean, covariance, message',
    [
        (np.zeros(3), np.eye(2), 'must be of shapes'),
        (np.zeros(3), np.eye(3), 'must be of shapes'),
        (np.zeros([2, 1]), np.eye(2), 'must be of shapes'),
        (np.array([0, np.inf]), np.eye(2), 'finite'),
        (np.zeros(2), np.array([[1, 0.5], [0, 1]]), 'symmetric'),
        (np.zeros(2), np.diag([1.0, -0.1]), 'negative eigenvalue'),
    ],
)
def test_moments_that_cannot_be(mean, covariance, message):
    with pytest.raises(UserError, match=message):
        frechet_distance_from_moments(np.zeros(2), np.eye(2), mean, covariance)
