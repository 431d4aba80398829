"""Expressions over two models: closed forms where both are Gaussians, and what is refused."""

import json

import numpy as np
import pytest
import tensorflow as tf
from helpers.small_models import OPTIONS, PRECONDITIONED, moved_model
from helpers.tiny import call

from drl_tf.base.errors import UserError
from drl_tf.core.build_model import build_model
from drl_tf.core.guidance import composed
from drl_tf.data import pipeline
from drl_tf.editing import compose, pairs, two_models
from drl_tf.editing.expressions import Atom, parse

A, B = Atom(0, -1), Atom(1, -1)
LEVELS = 3


def gaussian_model(mean, std):
    """A model before training, whose energies are the log densities of Gaussian data."""
    options = {'schedule': 'karras', 'num_levels': LEVELS, 'data_mean': (mean,), 'data_std': std}
    return build_model(PRECONDITIONED.replace(image_size=4, **options))


def log_normal(x, mean, variance):
    return (-((x - mean) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2).sum(axis=(1, 2, 3))


@pytest.mark.parametrize('index', [0, LEVELS // 2, LEVELS])
def test_the_densities_of_gaussians(index):
    """The product, mixture and difference of two Gaussians have the log densities of their formulas, where
    the mixture subtracts log Z from each energy."""
    a, b = gaussian_model(0.3, 0.2), gaussian_model(-0.4, 0.5)
    walk = a.walk
    x = np.random.default_rng(0).normal(size=[5, 4, 4, 1])
    x = walk.A[index] * (0.1 + 0.3 * x) + walk.S[index] * x[::-1]
    of_a, of_b = (
        log_normal(x, walk.A[index] * mean, (walk.A[index] * std) ** 2 + walk.S[index] ** 2)
        for mean, std in ((0.3, 0.2), (-0.4, 0.5))
    )
    expected = {
        'a & b': (of_a + of_b) / 2,
        'a | b': np.logaddexp(of_a - 2, of_b + 3) - np.log(2),
        'a & !b': (3 * of_a - of_b) / 2,
        '!b': of_a,
    }
    constants = {A: np.full(LEVELS + 1, 2.0), B: np.full(LEVELS + 1, -3.0)}
    for text, values in expected.items():
        log_z = constants if '|' in text else {}
        density = two_models.log_prob_at((a, b), parse(text), log_z)(tf.fill([5], index))
        np.testing.assert_allclose(density(tf.constant(x, tf.float32)), values, rtol=1e-4, atol=0.02)


class Exact:
    """A Gaussian in place of a model: the log densities of its noisy images in closed form."""

    def __init__(self, walk, mean, std):
        self.walk, self.mean, self.std = walk, mean, std

    def log_prob_at(self, angle, weights, terms):
        A, S = (tf.reshape(function(angle), [-1, 1, 1, 1]) for function in (tf.cos, tf.sin))
        variance = (A * self.std) ** 2 + S**2

        def log_prob(x):
            each = (x - A * self.mean) ** 2 / variance + tf.math.log(2 * np.pi * variance)
            return -tf.reduce_sum(each, axis=[1, 2, 3]) / 2

        return log_prob


def drawn(gaussians, text, log_z=None, count=100):
    """Draws from an expression over Gaussians, (mean, deviation) each, with the sampler of the first one's
    model."""
    model = gaussian_model(*gaussians[0])
    exact = [Exact(model.walk, *each) for each in gaussians]
    density = two_models.log_prob_at(exact, parse(text), log_z or {})
    return compose.draws(model, density, count, 'ema', seed=1) / 127.5 - 1


@pytest.mark.slow
def test_draws_of_a_product_are_those_of_the_model_of_the_product():
    """The geometric mean of two Gaussians of one variance is a Gaussian of this variance, at every level."""
    x = drawn([(0.4, 0.2), (-0.2, 0.2)], 'a & b')
    exact = (0.1, 0.2)
    np.testing.assert_allclose(x, drawn([exact, exact], 'a'), atol=0.02)
    assert x.mean() == pytest.approx(0.1, abs=4 * 0.2 / x.size**0.5)


@pytest.mark.slow
def test_draws_of_a_mixture_come_from_both_by_their_heights():
    x = drawn([(0.4, 0.1), (-0.4, 0.1)], 'a | b', {A: np.full(LEVELS + 1, np.log(9))})
    means = x.mean(axis=(1, 2, 3))
    assert np.abs(np.abs(means) - 0.4).max() < 0.1
    assert np.mean(means > 0) == pytest.approx(0.1, abs=4 * (0.1 * 0.9 / len(x)) ** 0.5)


def test_one_model_twice_is_itself_where_the_signs_say_so():
    model = gaussian_model(0.1, 0.3)
    x = tf.random.stateless_normal([3, 4, 4, 1], [1, 2])
    index = tf.fill([3], LEVELS - 1)
    log_p = model.log_prob_at(tf.fill([3], np.float32(model.walk.angle[LEVELS - 1])))(x)
    for text in ('a | b', 'a & b', 'a & !b'):
        found = two_models.log_prob_at((model, model), parse(text), {})(index)(x)
        np.testing.assert_allclose(found, log_p, rtol=1e-5)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'image_size': 16}, 'one image shape'),
        ({'num_levels': 5}, '--num_levels is 6 and 5; two models must have the same noise levels'),
        ({'schedule': 'karras'}, '--schedule is cosine and karras'),
    ],
)
def test_models_that_do_not_fit_get_one_line(changes, message):
    with pytest.raises(UserError, match=message):
        pairs.check_pair((PRECONDITIONED, PRECONDITIONED.replace(**changes)), ('A', 'B'))


def test_energies_without_normalised_levels_are_refused():
    with pytest.raises(UserError, match='--energy=paper of B leaves a constant open at each noise level'):
        pairs.check_pair((PRECONDITIONED, OPTIONS), ('A', 'B'))


def test_a_pair_of_shipped_models_is_checked(monkeypatch):
    config = pairs.exported.load_config(pairs.exported.find('digits'))
    pairs.check('a3 | b8', config, 'digits', 'digits')
    refused = {
        'a3 & 8': 'only one of the two models',
        'a3 & b10': 'there is no class 10',
        'a & ': 'not understood',
    }
    for text, message in refused.items():
        with pytest.raises(UserError, match=message):
            pairs.check(text, config, 'digits', 'digits')
    monkeypatch.setattr(pairs, 'known_log_z', lambda version: [])
    pairs.check('a3 & !b8', config, 'digits', 'digits')
    with pytest.raises(UserError, match='compares the heights of two log densities'):
        pairs.check('a3 | b8', config, 'digits', 'digits')


def test_heights_of_classes_add_to_those_of_their_model():
    model = build_model(PRECONDITIONED.replace(dataset='digits', image_size=8, num_classes=10))
    known = np.arange(7.0)
    atoms = [A, Atom(1, 2)]
    found = two_models.heights((model, model), (known, known + 10), atoms)
    np.testing.assert_allclose(found[A], known)
    np.testing.assert_allclose(found[atoms[1]], known + 10, atol=1e-3)  # An untrained model ignores classes.


def test_one_model_twice_gives_its_expressions_over_classes():
    model = moved_model(PRECONDITIONED.replace(num_classes=3))
    x = tf.random.stateless_normal([3, 8, 8, 1], [1, 2])
    angle = tf.fill([3], np.float32(model.walk.angle[2]))
    terms = composed([tf.fill([3], 1), tf.fill([3], 3)], [1.0, -1.0])
    found = two_models.log_prob_at((model, model), parse('a0 & !b2'), {})(tf.fill([3], 2))(x)
    np.testing.assert_allclose(found, model.log_prob_at(angle, 'ema', terms)(x), rtol=1e-5)


@pytest.mark.slow
def test_one_model_twice_draws_both_classes(capsys, tmp_path, monkeypatch):
    """By the command line: '3 | 8' over the shipped model and itself, judged by the digits classifier. 100
    images tell the heights of the classes."""
    load = pipeline.load_images
    monkeypatch.setattr(
        pipeline, 'load_images', lambda data, split, count: load(data, split, min(count, 100))
    )
    monkeypatch.chdir(tmp_path)
    words = [
        '--mode=compose',
        '--model=digits,digits',
        '--expression=a3 | b8',
        '--num_samples=8',
        '--sampling_levels=3',
    ]
    code, out, err = call(capsys, *words, '--output_dir=o')
    assert code == 0 and 'judged as' in out, err
    shares = json.loads(next((tmp_path / 'o').glob('*-classes.json')).read_text())['shares']
    assert shares['3'] + shares['8'] > 0.8 and min(shares['3'], shares['8']) > 0.1
