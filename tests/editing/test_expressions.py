"""Expressions over classes: how they are read, and their densities where the parts are Gaussians."""

import numpy as np
import pytest
import tensorflow as tf

from drl_tf.base.errors import UserError
from drl_tf.config.config import Config
from drl_tf.core import composition
from drl_tf.editing import compose
from drl_tf.editing.class_heights import mixture_heights
from drl_tf.editing.expressions import Atom, Node, atoms, parse, weights

A, B, C = (Atom(0, label) for label in (3, 8, 5))


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('3', A),
        (' 3&8 ', Node('&', (A, B))),
        ('3 | 8 & !5', Node('|', (A, Node('&', (B, Node('!', (C,))))))),
        ('(3 | 8) & 5', Node('&', (Node('|', (A, B)), C))),
        ('!!3', Node('!', (Node('!', (A,)),))),
        ('a & b7', Node('&', (Atom(0, -1), Atom(1, 7)))),
    ],
)
def test_reading(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    'text', ['', '3 &', '& 3', '3 8', '(3', '3)', '3 ? 8', 'c', '!', '()', '!' * 99 + '3']
)
def test_other_texts_get_one_line(text):
    with pytest.raises(UserError, match='--expression'):
        parse(text)


@pytest.mark.parametrize(
    ('text', 'place'), [('3 ^ 8', 3), ('()', 2), ('3 & c', 5), ('3 8', 3), ('3 &', 4), ('(3  ', 5)]
)
def test_the_error_names_the_first_character_that_does_not_fit(text, place):
    with pytest.raises(UserError, match=f'at character {place}:'):
        parse(text)


def test_sums_become_weights():
    assert weights(parse('3 & !8 & 3')) == {3: 2.0, 8: -1.0}
    assert weights(parse('!(3 & 8)')) == {3: -1.0, 8: -1.0}
    assert weights(parse('3 & (3 | 8)')) is None
    assert atoms(parse('3 & (3 | 8)')) == [A, B]


def normal(mean, variance):
    """The normalised log density of a Gaussian in one dimension."""

    def log_prob(x):
        return -tf.reduce_sum((x - mean) ** 2, [1, 2, 3]) / (2 * variance) - 0.5 * np.log(
            2 * np.pi * variance
        )

    return log_prob


PARTS = {A: normal(1.0, 0.5), B: normal(-1.0, 0.25)}
REFERENCE = normal(0.0, 2.0)
X = tf.constant(np.linspace(-12, 12, 4801, dtype=np.float32).reshape(-1, 1, 1, 1))


def moments(text):
    """Mass, mean and variance of an expression, by quadrature."""
    log_density = composition.composed(parse(text), PARTS.get, REFERENCE)(X).numpy().astype(np.float64)
    density = np.exp(log_density)
    x = X.numpy().ravel()
    mass = density.sum() * (x[1] - x[0])
    mean = (density * x).sum() / density.sum()
    return mass, mean, (density * (x - mean) ** 2).sum() / density.sum()


def test_operators_on_gaussians():
    """A product over the reference has the precision and the mean of the sums; a mixture is normalised."""
    precision = 1 / 0.5 + 1 / 0.25 - 1 / 2.0
    _, mean, variance = moments('3 & 8')
    np.testing.assert_allclose([mean, variance], [(1 / 0.5 - 1 / 0.25) / precision, 1 / precision], rtol=1e-3)
    mass, mean, variance = moments('3 | 8')
    np.testing.assert_allclose([mass, mean, variance], [1, 0, (0.5 + 0.25) / 2 + 1], rtol=1e-3, atol=1e-3)
    precision = 2 / 2.0 - 1 / 0.5 + 1 / 0.25
    _, mean, variance = moments('8 & !3')
    np.testing.assert_allclose([mean, variance], [(-1 / 0.25 - 1 / 0.5) / (4 - 2 + 0.5), 1 / 2.5], rtol=1e-3)


def test_heights_of_a_mixture_are_found_from_its_samples():
    """`mixture_heights` finds constants that are hundreds of nats apart."""
    rng = np.random.default_rng(0)
    mean = np.array([-2.0, 0.0, 3.0])
    x = rng.normal(np.repeat(mean, 4000), 1.0)
    log_p = -((x - mean[:, None]) ** 2) / 2 - 0.5 * np.log(2 * np.pi)
    mixture = np.logaddexp.reduce(log_p, axis=0) - np.log(3)
    constants = np.array([500.0, -3.0, 0.7])
    found = mixture_heights(log_p + constants[:, None] - mixture)
    np.testing.assert_allclose(found, constants, atol=0.1)


def test_files_of_two_expressions_have_two_names(tmp_path):
    """Even where only brackets differ; the options of sampling count too, the batch size does not."""
    config = Config()
    texts = ['3 & (8 | 5) & 2', '3 & 8 | 5 & 2']

    def name(config, text):
        return tuple(compose.name_parts(config, str(tmp_path), compose.ComposeRequest(text, 4), 1))

    names = {name(config, text) for text in texts} | {name(config.replace(noise_scale=0.5), texts[0])}
    assert len(names) == 3
    assert name(config.replace(sample_batch_size=3), texts[0]) in names


def test_files_of_two_models_in_one_directory_have_two_names(tmp_path):
    """The weights count where --output_dir may hold results of other models, and not in the run's own."""
    for workdir, content in (('a', '{}'), ('b', '{"x": 1}')):
        (tmp_path / workdir / 'checkpoints' / '00000001').mkdir(parents=True)
        (tmp_path / workdir / 'checkpoints' / '00000001' / 'manifest.json').write_text(content)
    for output_dir, count in (('there', 2), ('', 1)):
        request = compose.ComposeRequest('3 | 8', 4, output_dir=output_dir)
        names = {tuple(compose.name_parts(Config(), f'{tmp_path}/{each}', request, 1)) for each in 'ab'}
        assert len(names) == count
