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


@pytest.fixture(scope='module')
def by_typicality(model, digits, others):
    return by(lambda images: -model.typicality(images), digits, others)


def test_digits_are_denser_than_other_images(by_density):
    """Digits outrank other images with an AUROC of at least 0.98, letters with more than 0.7."""
    found = dict(by_density)
    assert found.pop('letters') > 0.7
    assert min(found.values()) >= 0.98, found


def test_energies_rank_as_log_densities_do(model, digits, others):
    """Both take the same noise level where none is named."""
    images = np.concatenate([digits[:20], others['letters'][:20]])
    assert np.ptp(model.log_prob(images) + model.energy(images)) < 0.01


def test_typicality_finds_other_images(model, digits, others, by_typicality):
    """An image counts as another one from three deviations on, as in the app."""
    found = dict(by_typicality)
    assert found.pop('letters') > 0.6
    assert min(found.values()) >= 0.98, found
    typicality = model.typicality(digits)
    assert np.median(typicality) < 2 and np.mean(typicality > 3) < 0.02
    assert np.all(model.typicality(others['black'][:1]) > 3)


def test_the_heights_are_taught(model):
    """log Z of each noise level is near 0; at the lowest, slopes alone leave thousands of nats."""
    assert np.all(np.abs(model.heights['log_z']) < 30)


def test_the_card_has_these_figures(by_density, by_typicality):
    card = pathlib.Path(exported.find('digits'), 'README.md').read_text()
    table = card.split('| other images | log_prob | typicality |')[1].splitlines()[2:]
    rows = [line.split('|')[1:4] for line in table if line.startswith('|')]
    for column, expected in ((1, by_density), (2, by_typicality)):
        assert {row[0].strip(): float(row[column]) for row in rows} == pytest.approx(expected, abs=0.01)


def test_training_digits_are_no_denser_than_held_out_ones(model, digits):
    train = pipeline.load_images(model.config.data, 'train', COUNT)
    assert 0.45 < ranking.auroc(model.log_prob(digits), model.log_prob(train)) < 0.55
