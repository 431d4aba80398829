"""A small model and its preset, for the tests of presets and hubs."""

import pytest
from helpers import golden

import drl_tf


@pytest.fixture(scope='session')
def model():
    return drl_tf.EnergyModel.from_preset(golden.DIRECTORY / 'cdrl')


@pytest.fixture(scope='session')
def preset(model, tmp_path_factory):
    directory = tmp_path_factory.mktemp('presets') / 'small'
    model.save_to_preset(directory)
    return directory
