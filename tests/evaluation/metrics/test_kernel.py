import numpy as np
import pytest

from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics.kernel import kernel_distance


def unbiased(x, y):
    """The unbiased estimate of MMD^2 with k(x, y) = (x.y / d + 1)^3, by its definition."""
    k_xx, k_yy, k_xy = (
        np.array([[(np.dot(a, b) / len(a) + 1) ** 3 for b in second] for a in first])
        for first, second in ((x, x), (y, y), (x, y))
    )
    n, m = len(x), len(y)
    within_x = sum(k_xx[i, j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(k_yy[i, j] for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * k_xy.mean()


def gaussian(seed, num, d=6, shift=0.0):
    return np.random.default_rng(seed).normal(size=(num, d)) + shift


def blocks(features, generator, num):
    """The features in random order, cut into parts of which the first are smaller by one where they cannot be
    equal."""
    shuffled = generator.permutation(features)
    size, larger = divmod(len(features), num)
    sizes = [size] * (num - larger) + [size + 1] * larger
    return np.split(shuffled, np.cumsum(sizes)[:-1])


@pytest.mark.parametrize(('sizes', 'num'), [((60, 60), 10), ((60, 43), 10), ((31, 60), 10), ((21, 20), 7)])
def test_mean_and_standard_error_of_the_estimates_of_about_ten_blocks(sizes, num):
    real, fake = gaussian(0, sizes[0]), gaussian(1, sizes[1], shift=0.5)
    generator = np.random.default_rng(3)
    pairs = zip(blocks(real, generator, num), blocks(fake, generator, num), strict=True)
    estimates = [unbiased(x, y) for x, y in pairs]
    distance, error = kernel_distance(real, fake, seed=3)
    assert distance == pytest.approx(np.mean(estimates), rel=1e-10)
    assert error == pytest.approx(np.std(estimates, ddof=1) / np.sqrt(num), rel=1e-10)


def test_estimates_of_one_distribution_are_unbiased():
    distances = [kernel_distance(gaussian(2 * seed, 50), gaussian(2 * seed + 1, 50))[0] for seed in range(30)]
    assert min(distances) < 0 < max(distances)
    assert abs(np.mean(distances)) < 4 * np.std(distances) / np.sqrt(30)


def test_a_shift_is_found_many_errors_away_from_zero():
    distance, error = kernel_distance(gaussian(0, 2500), gaussian(1, 2500, shift=0.5))
    assert distance > 10 * error > 0
    distance, error = kernel_distance(gaussian(0, 2500), gaussian(2, 2500))
    assert abs(distance) < 4 * error


def test_the_expectation_of_a_shifted_gaussian():
    """With d = 1, x ~ N(0, 1), y ~ N(1, 1): E k(x,x') = 1 + 3 = 4, E k(y,y') = 1 + 3 + 3 * 4 + 16 = 32 and E
    k(x,y) = 1 + 3 * 2 = 7."""
    distance, error = kernel_distance(gaussian(0, 5000, d=1), gaussian(1, 5000, d=1, shift=1.0))
    assert abs(distance - (4 + 32 - 2 * 7)) < 4 * error < 6


def test_the_order_of_the_features_does_not_decide():
    """Sorted sets, block by block, would be as far apart as their parts."""
    x = np.sort(gaussian(0, 3000, d=1), axis=0)
    distance, _ = kernel_distance(x, x[::-1].copy())
    assert abs(distance) < 0.1 < unbiased(x[:20], x[-20:])


def test_the_seed_fixes_the_blocks():
    real, fake = gaussian(0, 100), gaussian(1, 100)
    assert (
        kernel_distance(real, fake, seed=1)
        == kernel_distance(real, fake, seed=1)
        != kernel_distance(real, fake, seed=2)
    )


def test_few_features_against_many():
    distance, error = kernel_distance(gaussian(0, 20000, d=2), gaussian(1, 20, d=2, shift=3.0))
    assert np.isfinite(error) and distance > 0


def test_float32_features_are_computed_in_float64():
    real, fake = gaussian(0, 100, shift=5).astype(np.float32), gaussian(1, 100, shift=5).astype(np.float32)
    assert kernel_distance(real, fake) == kernel_distance(real.astype(np.float64), fake.astype(np.float64))


@pytest.mark.parametrize('shape', [(20, 3), (19, 6), (20,), (20, 3, 2)])
def test_wrong_shapes(shape):
    with pytest.raises(UserError, match='must be'):
        kernel_distance(gaussian(0, 20), np.ones(shape))


def test_nan():
    with pytest.raises(UserError, match='generated images must be finite'):
        kernel_distance(gaussian(0, 20), gaussian(0, 20) * np.nan)
