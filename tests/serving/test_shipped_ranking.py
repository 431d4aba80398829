"""The energies of the digits model that comes with the package rank held-out digits before other images."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import drl_tf
from drl_tf.data import pipeline

COUNT = 200


def auroc(real, other):
    """Chance that a real image scores higher than another one."""
    return np.mean(real[:, None] > other[None])


@pytest.fixture(scope='module')
def model():
    return drl_tf.load('digits')


@pytest.fixture(scope='module')
def digits(model):
    return pipeline.load_images(model.config.data, 'test', COUNT)


def others(digits):
    """{name: images uint8 like `digits`}"""
    rng = np.random.default_rng(0)
    flat = digits.reshape(len(digits), -1)
    return {
        'uniform': rng.integers(0, 256, digits.shape).astype(np.uint8),
        'shuffled': rng.permuted(flat, axis=1).reshape(digits.shape),
        'inverted': 255 - digits,
        'white': np.full_like(digits, 255),
        'noisy': np.uint8(np.clip(digits + rng.normal(0, 30, digits.shape), 0, 255)),
        'shifted': np.roll(digits, 5, axis=2),
        'blurred': gaussian_filter(digits, (0, 1, 1, 0)),
    }


def test_digits_are_denser_than_other_images(model, digits):
    """By the defaults of `log_prob`; a blurred digit is nearly one."""
    real = model.log_prob(digits)
    found = {name: auroc(real, model.log_prob(images)) for name, images in others(digits).items()}
    assert found.pop('blurred') >= 0.95, found
    assert min(found.values()) >= 0.97, found


def test_typicality_finds_what_is_too_likely(model, digits):
    """A black image is denser than any digit, and still not one."""
    black = np.zeros_like(digits)
    assert auroc(model.log_prob(black), model.log_prob(digits)) == 1
    real = model.typicality(digits)
    assert np.median(real) < 2
    for name, images in {**others(digits), 'black': black}.items():
        if name not in ('shifted', 'blurred'):
            assert auroc(model.typicality(images), real) >= 0.95, name


def test_training_digits_are_no_denser_than_held_out_ones(model, digits):
    train = pipeline.load_images(model.config.data, 'train', COUNT)
    assert 0.4 < auroc(model.log_prob(digits), model.log_prob(train)) < 0.6
