"""Checkpoints hold the whole state of a run and only sound ones appear under their name."""

import os

import numpy as np
import pytest
import tensorflow as tf
from test_model import trained

from drl_tf import checkpoint
from drl_tf.errors import UserError


def state(model):
    return [np.array(variable) for variable in (*model.network.weights, *model.ema_network.weights, *model.optimizer.variables)]


def disturb(model):
    for variable in (*model.network.weights, *model.ema_network.weights, *model.optimizer.variables):
        variable.assign(variable + tf.ones_like(variable))


def test_every_variable_comes_back(tmp_path):
    model = trained()[0]
    before = state(model)
    checkpoint.save(model, tmp_path)
    disturb(model)
    assert all(np.any(now != then) for now, then in zip(state(model), before, strict=True))
    assert checkpoint.restore(model, tmp_path) == 1
    for now, then in zip(state(model), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_keeps_the_last_three_and_no_half_written_one(tmp_path, monkeypatch):
    model = trained()[0]
    for step in (5, 6, 7, 8):
        model.optimizer.iterations.assign(step)
        checkpoint.save(model, tmp_path)
    assert checkpoint.steps(tmp_path) == [6, 7, 8]
    model.optimizer.iterations.assign(9)
    monkeypatch.setattr(os, 'replace', _full_disk)
    with pytest.raises(OSError, match='No space'):
        checkpoint.save(model, tmp_path)
    assert checkpoint.steps(tmp_path) == [6, 7, 8]


def _full_disk(*_):
    raise OSError(28, 'No space left on device')


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match='no checkpoint'):
        checkpoint.restore(trained()[0], tmp_path)
