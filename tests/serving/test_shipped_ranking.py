"""The energies of the digits model that comes with the package rank held-out digits before other images."""

import pathlib

import numpy as np
import pytest

import drl_tf
from drl_tf.data import pipeline
from drl_tf.experiments import ranking
from drl_tf.runs import exported

COUNT = 1000


@pytest.fixture(scope='module')
def model():
    return drl_tf.EnergyModel.from_preset('digits')


@pytest.fixture(scope='module')
def digits(model):
    return pipeline.load_images(model.config.data, 'test', COUNT)


@pytest.fixture(scope='module')
def others(digits):
    return ranking.others(digits)


def by(score, digits, others):
    real = score(digits)
    return {name: ranking.auroc(real, score(images)) for name, images in others.items()}


@pytest.fixture(scope='module')
def by_density(model, digits, others):
    """By the defaults of `log_prob`."""
    return by(model.log_prob, digits, others)


def test_digits_are_denser_than_other_images(by_density):
    """Digits outrank other images with an AUROC of at least 0.98, blurred digits with at least 0.95, letters
    with more than 0.5. A black image is denser than any digit."""
    found = dict(by_density)
    assert found.pop('black') == 0 and found.pop('letters') > 0.5 and found.pop('blurred') >= 0.95
    assert min(found.values()) >= 0.98, found


def test_typicality_finds_what_is_too_likely(model, digits, others):
    found = by(lambda images: -model.typicality(images), digits, others)
    assert np.median(model.typicality(digits)) < 2
    assert min(found[name] for name in ('black', 'white', 'uniform', 'noisy', 'inverted', 'shuffled')) >= 0.98


def test_the_card_has_these_figures(by_density):
    card = pathlib.Path(exported.find('digits'), 'README.md').read_text()
    table = card.split('| other images | log_prob | typicality |')[1].splitlines()[2:]
    rows = [line.split('|')[1:3] for line in table if line.startswith('|')]
    told = {name.strip(): float(value) for name, value in rows}
    assert told == pytest.approx(by_density, abs=0.03)


def test_training_digits_are_no_denser_than_held_out_ones(model, digits):
    train = pipeline.load_images(model.config.data, 'train', COUNT)
    assert 0.4 < ranking.auroc(model.log_prob(digits), model.log_prob(train)) < 0.6
