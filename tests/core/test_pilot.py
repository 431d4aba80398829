"""The pilot run adapts the steps of correctors: it reaches its target, whatever the seed and the images."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.small_models import OPTIONS, PRECONDITIONED

from drl_tf.core import correctors, pilot
from drl_tf.core.energy_model import EnergyModel
from drl_tf.core.preconditioning import PreconditionedEnergy
from drl_tf.core.sampling import Draw


class Flat(keras.layers.Layer):
    """e = 0 for all images: what a network is before training."""

    def prepare(self, time, labels=None):
        return []

    def call(self, w, prepared, dropout=None, remat=False):
        return tf.zeros(tf.shape(w)[:1])


def model(**options):
    """An untrained model, whose energies are Gaussian."""
    changes = dict(num_levels=3, mcmc_steps=(4,), corrector='mala', data_mean=(0.0,), data_std=0.5)
    config = PRECONDITIONED.replace(**{**changes, **options})
    made = EnergyModel(config)
    made.ema_network = PreconditionedEnergy(Flat(), config.image_shape, mean=0.0, std=0.5)
    return made


def test_the_largest_step_that_accepts_enough():
    assert pilot.largest(lambda q: 1 - q, 0.6) == pytest.approx(2**-1.5)
    assert pilot.largest(lambda q: 1.0, 0.6) == 1
    assert pilot.largest(lambda q: 0.0, 0.6) == pilot.GRID[-1] == 2**-10
    assert pilot.largest(lambda q: np.nan, 0.6) == pilot.GRID[-1]


@pytest.mark.parametrize('corrector', correctors.ADJUSTED)
def test_fresh_images_accept_what_the_pilot_run_aimed_at(corrector):
    """The Gaussian energies of an untrained model, in 64 dimensions."""
    untrained = model(corrector=corrector)
    q = pilot.steps(untrained)
    infos = []
    untrained.sample(200, [3, 4], Draw(corrector_steps=q), after_chains=infos.append)
    acceptance = np.mean(sum(info.acceptance for info in infos), axis=0)
    target = correctors.TARGET_ACCEPTANCE[corrector]
    np.testing.assert_array_less(target - 0.08, acceptance)
    np.testing.assert_array_less(acceptance[q.numpy() < 1], target + 0.2)
    assert all(np.log2(q.numpy()) * 4 % 1 < 1e-3)


def test_steps_depend_on_neither_seed_nor_images():
    """So an image is the same in any batch, and its chains are."""
    untrained = model()
    q = pilot.steps(untrained)
    np.testing.assert_array_equal(q, pilot.steps(model(seed=5)))
    infos = [[], []]
    whole = untrained.sample(5, [1, 2], Draw(corrector_steps=q), after_chains=infos[0].append)[-1]
    part = untrained.sample(2, [1, 2], Draw(first=3, corrector_steps=q), after_chains=infos[1].append)[-1]
    np.testing.assert_allclose(whole[3:], part, atol=1e-5)
    mine, theirs = (sum(info.displacement for info in each) for each in infos)
    np.testing.assert_allclose(mine[3:], theirs, atol=1e-5)


def test_what_needs_no_pilot_run_has_none():
    assert pilot.steps(model(corrector='auto', mcmc_steps=(0,))) is None
    assert pilot.steps(EnergyModel(OPTIONS)) is None
    np.testing.assert_allclose(pilot.steps(model(corrector_step=0.3)), [0.3] * 3)
    np.testing.assert_allclose(pilot.steps(model(corrector='langevin', corrector_step=0.3)), [0.3] * 3)


def test_levels_without_chains_are_left_alone():
    """Their acceptance and displacement are 0, and their images the proposals."""
    untrained = model(mcmc_steps=(0, 4, 0))
    q = pilot.steps(untrained)
    assert q[0] == q[2] == 1 and q[1] < 1
    infos = []
    untrained.sample(4, [1, 2], Draw(corrector_steps=q), after_chains=infos.append)
    acceptance, displacement = (sum(parts).numpy() for parts in zip(*infos, strict=True))
    assert (acceptance[:, [0, 2]] == 0).all() and (acceptance[:, 1] > 0).all()
    assert (displacement[:, [0, 2]] == 0).all() and (displacement[:, 1] > 0).all()


def test_paper_energies_can_be_adjusted_too():
    """Their chains start at x_{t+1}; the top level has no tether."""
    paper = EnergyModel(OPTIONS.replace(num_levels=2, corrector='mala'))
    q = pilot.steps(paper)
    infos = []
    states = paper.sample(20, [1, 2], Draw(corrector_steps=q), after_chains=infos.append)
    assert np.isfinite(states[-1]).all()
    acceptance = np.mean(sum(info.acceptance for info in infos), axis=0)
    np.testing.assert_array_less(0.4, acceptance)


def test_classes_take_turns_in_the_pilot_run(monkeypatch):
    """With the guidance of the configuration."""
    untrained, asked = model(num_classes=3, guidance=1.0), []
    sampler = EnergyModel.sampler

    def recorded(self, draw):
        asked.append(draw.terms)
        return sampler(self, draw)

    monkeypatch.setattr(EnergyModel, 'sampler', recorded)
    assert pilot.steps(untrained).shape == (3,)
    (labels, weight), (none, other) = asked[0]
    np.testing.assert_array_equal(labels[:4], [1, 2, 3, 1])
    assert (weight, other) == (2.0, -1.0) and not tf.reduce_any(none > 0)
