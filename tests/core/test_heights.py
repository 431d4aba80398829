"""Constants of log densities against known ones, for Gaussian data whose energies are off by a known
amount."""

import numpy as np
import pytest

from drl_tf.core import diffusion, heights

STD = 0.4
D = 16


def offset(angle):
    """log Z by which the energies below are off, as a function of the noise level."""
    return 40 * np.sin(3 * angle) + 5 * np.cos(angle)


def log_density(x, angle):
    """F = log p + log Z of Gaussian data, float64 [n] of x [n, D]."""
    variance = np.cos(angle) ** 2 * STD**2 + np.sin(angle) ** 2
    return -0.5 * np.sum(x**2 / variance + np.log(2 * np.pi * variance), axis=1) + offset(angle)


@pytest.fixture(scope='module')
def noisy():
    """A grid, where the levels are in it, and samples at each of its noise levels."""
    angles, places = heights.grid(diffusion.cosine().angle, 0.05)
    rng = np.random.default_rng(0)
    clean = STD * rng.normal(size=[400, D])
    return angles, places, [np.cos(a) * clean + np.sin(a) * rng.normal(size=clean.shape) for a in angles]


def test_the_grid_is_even_in_log_snr_and_holds_the_levels():
    levels = diffusion.cosine().angle
    angles, places = heights.grid(levels, 0.5)
    np.testing.assert_allclose(angles[places], levels, rtol=1e-9)
    steps = -np.diff(-2 * np.log(np.tan(angles)))
    assert steps.min() > 0.3 and steps.max() <= 0.5 + 1e-9


def test_integration_finds_the_constants(noisy):
    angles, places, samples = noisy
    h = 1e-5
    slopes = np.stack(
        [
            (log_density(x, a + h) - log_density(x, a - h)) / (2 * h)
            for a, x in zip(angles, samples, strict=True)
        ]
    )
    found = heights.integrated(angles, slopes)
    expected = offset(angles) - offset(angles[-1])
    np.testing.assert_allclose(found.log_z, expected, atol=0.5)
    assert np.abs(found.log_z - expected)[places].max() < 4 * found.error.max() and found.error[-1] == 0


def test_bennett_finds_the_constants(noisy):
    angles, places, samples = noisy
    pairs = range(len(angles) - 1)
    forward = [log_density(samples[i], angles[i + 1]) - log_density(samples[i], angles[i]) for i in pairs]
    reverse = [
        log_density(samples[i + 1], angles[i]) - log_density(samples[i + 1], angles[i + 1]) for i in pairs
    ]
    found = heights.bridged(np.stack(forward), np.stack(reverse))
    expected = offset(angles) - offset(angles[-1])
    errors = np.abs(found.log_z - expected)[places[:-1]] / found.error[places[:-1]]
    assert errors.max() < 4, errors
    assert 0 < found.error[0] < 0.5


def test_bennett_of_ratios_whose_sigmoids_vanish():
    assert heights.bennett(np.full(10, -200.0), np.full(10, -200.0)) == pytest.approx(0, abs=1e-6)
    ratios = np.array([[[-200.0, -190.0]], [[-900.0, -1000.0]]])
    np.testing.assert_allclose(heights.bennett(ratios, ratios + 50), [[-25.0], [-25.0]], atol=1e-6)


@pytest.mark.parametrize('dimensions', [64, 12_288, 196_608])
def test_bennett_in_many_dimensions(dimensions):
    """Data in one point, so that all dimensions change with the noise; log Z is 0 at each level."""
    angles, _ = heights.grid(diffusion.karras(6).angle, heights.spacing(dimensions))
    variances = np.sin(angles) ** 2 / (np.cos(angles) ** 2 * STD**2 + np.sin(angles) ** 2)
    squares = variances[:, None] * np.random.default_rng(0).chisquare(dimensions, [len(angles), 50])

    def rise(squares, level, other):
        """log p(x; other) - log p(x; level) of x with the square of its norm."""
        rates = 1 / variances[other] - 1 / variances[level]
        logs = np.log(variances[other] / variances[level])
        return -(rates[:, None] * squares + dimensions * logs[:, None]) / 2

    low, high = np.arange(len(angles) - 1), np.arange(1, len(angles))
    found = heights.bridged(rise(squares[:-1], low, high), rise(squares[1:], high, low))
    assert np.abs(found.log_z[0]) < 4 * found.error[0] < 100


def test_bennett_between_two_normal_distributions():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=5000), 1 + 2 * rng.normal(size=5000)

    def difference(x):
        return -((x - 1) ** 2) / 8 + x**2 / 2

    assert heights.bennett(difference(first), -difference(second)) == pytest.approx(np.log(2), abs=0.05)
