import numpy as np
import pytest

from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics.moments import Moments


def features(num, offset=0.0, d=8):
    generator = np.random.default_rng(0)
    return generator.normal(size=(num, d)) @ generator.normal(size=(d, d)) + offset


def moments_of(*batches):
    moments = Moments(batches[0].shape[1])
    for batch in batches:
        moments.update(batch)
    return moments


@pytest.mark.parametrize(
    'split', [[], [1], [1, 2, 3], [0, 100, 100, 200], [37, 150, 299], list(range(1, 300))]
)
def test_any_split_gives_the_mean_and_covariance_of_all(split):
    x = features(300)
    moments = moments_of(*np.split(x, split))
    assert moments.count == 300
    np.testing.assert_allclose(moments.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(x.T), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('split', [[], [100, 200], list(range(1, 300))])
def test_a_mean_of_a_million_costs_no_digits_but_those_of_the_features(split):
    """The features themselves are rounded to 1e-10 beside a mean of 1e6; a sum of squares would lose all but
    1e-4."""
    x = features(300, offset=1e6)
    np.testing.assert_allclose(
        moments_of(*np.split(x, split)).covariance, np.cov((x - 1e6).T), rtol=1e-8, atol=1e-8
    )


def test_parts_merge_in_any_order():
    x = features(300)
    first, second, third = (moments_of(part) for part in np.split(x, [10, 210]))
    third.merge(first)
    third.merge(Moments(8))
    third.merge(second)
    assert third.count == 300
    np.testing.assert_allclose(third.mean, x.mean(axis=0), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(third.covariance, np.cov(x.T), rtol=1e-12, atol=1e-12)


def test_float32_features_are_summed_in_float64_and_left_alone():
    x = features(300, offset=100.0).astype(np.float32)
    before = x.copy()
    moments = moments_of(x)
    assert moments.mean.dtype == moments.covariance.dtype == np.float64
    np.testing.assert_allclose(moments.covariance, np.cov(x.T.astype(np.float64)), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(x, before)


def test_refused_features_leave_the_moments_as_they_were():
    moments = moments_of(features(20))
    mean, covariance = moments.mean.copy(), moments.covariance
    for wrong in (features(5, d=7), features(5)[0], features(5) * np.nan, np.ones([5, 8], np.int32)):
        with pytest.raises(UserError):
            moments.update(wrong)
    assert moments.count == 20
    np.testing.assert_array_equal(moments.mean, mean)
    np.testing.assert_array_equal(moments.covariance, covariance)


@pytest.mark.parametrize('num', [0, 1])
def test_less_than_two_features_have_no_covariance(num):
    with pytest.raises(UserError, match='at least 2'):
        _ = moments_of(features(num)).covariance
