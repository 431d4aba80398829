"""The operators of inverse problems against matrices."""

import numpy as np
import pytest
import tensorflow as tf

from drl_tf.core import operators

SHAPE = (4, 4, 3)
KERNEL = np.array([[0.0, 1.0, 3.0], [1.0, 4.0, 1.0], [2.0, 1.0, 0.5]])
SEEN = tf.constant(np.random.default_rng(0).random([4, 4, 1]) < 0.5, tf.float32)
OPERATORS = {
    'masked': operators.masked(SEEN),
    'pooled': operators.pooled(2),
    'grey': operators.grey(),
    'blurred': operators.blurred(KERNEL, 4, 4),
}


def matrix(operator):
    """H, [size of the observation, size of the image]."""
    images = np.eye(np.prod(SHAPE), dtype=np.float32).reshape(-1, *SHAPE)
    return operator.apply(tf.constant(images)).numpy().reshape(len(images), -1).T.astype(np.float64)


@pytest.mark.parametrize('name', OPERATORS)
def test_the_misfit_is_that_of_the_covariance(name):
    """For the mask, of the covariance on the pixels that are seen."""
    operator = OPERATORS[name]
    H = matrix(operator)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    r = operator.apply(tf.constant(x))
    rows = r.numpy().reshape(2, -1)
    covariance = 0.3 * np.eye(len(H)) + 0.7 * H @ H.T
    expected = np.sum(rows * np.linalg.solve(covariance, rows.T).T, axis=1)
    np.testing.assert_allclose(operator.misfit(r, 0.3, tf.fill([2, 1, 1, 1], 0.7)), expected, rtol=1e-4)


@pytest.mark.parametrize('name', ['masked', 'pooled', 'grey'])
def test_the_inverse_is_the_pseudo_inverse(name):
    operator = OPERATORS[name]
    H = matrix(operator)
    r = operator.apply(tf.constant(np.random.default_rng(2).normal(size=(1, *SHAPE)).astype(np.float32)))
    expected = np.linalg.pinv(H) @ r.numpy().ravel()
    np.testing.assert_allclose(operator.inverse(r).numpy().ravel(), expected, atol=1e-5)


def test_a_blurred_dot_is_the_kernel():
    dot = np.zeros([1, 5, 5, 1], np.float32)
    dot[0, 2, 2] = 1
    blurry = operators.blurred(KERNEL, 5, 5).apply(tf.constant(dot)).numpy()[0, 1:4, 1:4, 0]
    np.testing.assert_allclose(blurry, KERNEL / KERNEL.sum(), atol=1e-6)
