"""Checkpoints and SavedModels that an earlier version wrote still load, go on, and give the numbers that they
gave then."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from helpers import golden

from drl_tf.core.weights import Weights
from drl_tf.runs import checkpoint
from drl_tf.serving import provenance
from drl_tf.serving.signatures import Export


@pytest.fixture(params=golden.RECIPES)
def recipe(request):
    return request.param


@pytest.fixture
def expected(recipe):
    with np.load(golden.DIRECTORY / recipe / 'expected.npz') as file:
        return {name: file[name] for name in file.files}


def assert_same_numbers(found, expected):
    """The same numbers to a relative 1e-4; pixels, which are whole, to 1."""
    assert found.keys() == expected.keys() - {'losses'} and len(found) >= 4
    for name, value in found.items():
        assert np.ptp(expected[name]) > 0
        np.testing.assert_allclose(
            value, expected[name], rtol=1e-4, atol=1 if name.startswith('sample') else 1e-5, err_msg=name
        )


@pytest.mark.parametrize('recipe', ['t6', 'heights'], indirect=True)
def test_the_saved_model_answers_as_it_did(recipe, expected):
    assert_same_numbers(
        golden.answers(tf.saved_model.load(str(golden.DIRECTORY / recipe / 'saved_model' / '1')).signatures),
        expected,
    )


def test_the_checkpoint_gives_the_numbers_it_gave(recipe, expected):
    model, step = checkpoint.load_model(str(golden.DIRECTORY / recipe))
    assert step == golden.STEPS
    heights = provenance.history(str(golden.DIRECTORY / recipe), step, Weights.EMA, model)['heights']
    export = Export(model, 16, heights=heights, log_z=heights and heights['log_z_0'])
    names = {name.partition(' ')[0] for name in expected} - {'losses'}
    assert_same_numbers(golden.answers({name: getattr(export, name) for name in names}), expected)


def test_training_goes_on_with_the_losses_it_had(recipe, expected, tmp_path):
    shutil.copytree(golden.DIRECTORY / recipe, tmp_path / 'w')
    assert golden.train(recipe, tmp_path / 'w', golden.STEPS + 2) == 0
    np.testing.assert_allclose(golden.losses(tmp_path / 'w'), expected['losses'], rtol=1e-3)
