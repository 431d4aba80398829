"""`EnergyModel.anomaly_scores` and `ood` against energies, log densities, differences and closed forms."""

import math

import numpy as np
import pytest

import drl_tf
from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics import detection
from drl_tf.evaluation.metrics.detection import auroc
from drl_tf.experiments.bits_per_dim import negative_logs
from drl_tf.runs.scores import Scores

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(detection, 'RESAMPLES', 5)


@pytest.fixture(scope='module')
def model():
    return drl_tf.EnergyModel.from_preset('digits')


@pytest.fixture(scope='module')
def images(model):
    return model.generate(6, seed=1)


@pytest.fixture(scope='module')
def scores(model, images):
    return model.anomaly_scores(images)


def test_each_level_has_the_energy_and_the_log_density_of_the_model(model, images, scores):
    for column, level in enumerate(scores.levels):
        np.testing.assert_allclose(scores.energy[:, column], model.energy(images, level), rtol=1e-4, atol=0.1)
        np.testing.assert_allclose(
            scores.log_prob[:, column], model.log_prob(images, level), rtol=1e-4, atol=0.1
        )
    np.testing.assert_allclose(scores.scoring_energy, model.energy(images), rtol=1e-4)


def test_bits_are_those_of_the_likelihood(model, scores):
    schedule = model.model.schedule
    F = -scores.energy[:, 0].astype(np.float64)
    terms = {'F': F, 'log_q': F, 'log_P': F}
    nats = negative_logs(schedule, model.image_shape, terms)['density'] + model.heights['log_z'][0]
    np.testing.assert_allclose(scores.bits_per_dim[:, 0], nats / (256 * math.log(2)), rtol=1e-3)


@pytest.mark.parametrize('level', [1, 3])
def test_gradients_are_finite_differences(model, images, scores, level):
    """Along the gradient's own direction: S / A times the slope of the energy in x."""
    schedule, step = model.model.schedule, 0.01
    x = images[:1] / np.float32(127.5) - 1
    row, column = np.unravel_index(np.argmax(scores.maps[0, level]), (16, 16))
    moved = x.repeat(2, axis=0) * 0.98  # Within the bounds of images.
    moved[:, row, column] += [[-step], [step]]
    low, high = -model.energy(moved, level).astype(np.float64)
    slope = schedule.S[level] / schedule.A[level] * (high - low) / (2 * step)
    found = model.anomaly_scores(x * 0.98).maps[0, level, row, column]
    assert found == pytest.approx(abs(slope), rel=0.02) and found > 0.1


def test_totals_are_norms(scores):
    np.testing.assert_allclose(
        np.sqrt(np.sum(scores.maps**2, axis=(2, 3))), scores.gradient, rtol=1e-4
    )  # One channel.
    np.testing.assert_allclose(scores.total_gradient**2, np.sum(scores.gradient**2, axis=1), rtol=1e-5)
    np.testing.assert_allclose(np.sum(scores.total_map**2, axis=(1, 2)), scores.total_gradient**2, rtol=1e-4)


def test_parts_join(model, images, scores):
    joined = Scores.joined([model.anomaly_scores(images[:4]), model.anomaly_scores(images[4:])])
    np.testing.assert_allclose(joined.energy, scores.energy, rtol=1e-4, atol=0.05)
    np.testing.assert_allclose(joined.bits_per_dim, scores.bits_per_dim, rtol=1e-3)
    assert joined.scoring_level == scores.scoring_level == 1


def test_classes_are_those_of_the_energies(model, images):
    labels = np.arange(6)
    found = model.anomaly_scores(images, labels, guidance=0.5).energy[:, 2]
    np.testing.assert_allclose(found, model.energy(images, 2, labels, 0.5), rtol=1e-4, atol=0.05)
    assert np.abs(found - model.anomaly_scores(images).energy[:, 2]).max() > 1


def test_the_map_shows_a_blot(model):
    """A square in the empty corner of a digit is where the gradients are largest."""
    image = model.generate(1, seed=3, labels=1)
    image[0, 1:4, 1:4] = 255
    unlikely = model.anomaly_scores(image).total_map[0]
    corner = unlikely[:5, :5]
    assert corner.max() == unlikely.max()
    assert np.mean(corner**2) > 3 * np.mean(unlikely[8:, 8:] ** 2)


def test_a_model_without_heights_has_energies_alone(small_export):
    model = drl_tf.EnergyModel.from_preset(small_export)
    found = model.anomaly_scores(np.zeros([3, 8, 8, 1]))
    assert found.log_prob is None and found.bits_per_dim is None and found.energy.shape == (3, 2)
    joined = Scores.joined([found, found])
    assert joined.log_prob is None and len(joined.maps) == 6
    detected = model.ood(np.zeros([3, 8, 8, 1]), np.ones([3, 8, 8, 1]))
    assert 'typicality' not in detected


def test_ood_is_made_of_the_same_scores(model, images, scores):
    others = RNG.integers(0, 256, [5, 16, 16, 1]).astype(np.uint8)
    found = model.ood(images, others, seed=2)
    theirs = model.anomaly_scores(others)
    assert found['lowest_level']['auroc'] == auroc(-scores.energy[:, 0], -theirs.energy[:, 0])
    assert found['gradient']['auroc'] == auroc(-scores.total_gradient, -theirs.total_gradient)
    typical = auroc(-model.typicality(images), -model.typicality(others))
    assert found['typicality']['auroc'] == pytest.approx(typical)
    assert (found['typicality']['num_real'], found['typicality']['num_other']) == (6, 5)
    same = model.ood(images, images)
    assert all(figures['auroc'] == 0.5 for figures in same.values())


def test_wrong_arguments_are_refused(model, images):
    with pytest.raises(UserError, match=r'^images of shape'):
        model.anomaly_scores(images[0])
    with pytest.raises(UserError, match=r'^labels must be from -1 to 9'):
        model.anomaly_scores(images, labels=10)
    with pytest.raises(UserError, match=r'^seed='):
        model.ood(images, images, seed=-1)
