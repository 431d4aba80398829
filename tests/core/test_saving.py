"""Networks and models are made again, by Keras, of their configurations."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import small_models

from drl_tf.config.config import Config
from drl_tf.core.build_model import build_model

MODELS = {
    't6': small_models.OPTIONS,
    'classes': small_models.CLASSES,
    'preconditioned': small_models.PRECONDITIONED,
    'unet': small_models.PRECONDITIONED.replace(network='unet', data_mean=(0.25,), data_std=0.4),
    'recovery of preconditioned': small_models.PRECONDITIONED.replace(
        contrastive=0.1, mcmc_steps=(2,), levels='continuous', batch_size=8
    ),
    'exact': small_models.PRECONDITIONED.replace(energy='exact', exact_images=5),
    'plane': Config().replace(image_size=1, image_channels=2, dataset='toy', channels=8, channel_mult=(1,)),
}


def again(thing):
    """A network or model made of the JSON text of its configuration."""
    text = json.dumps(keras.saving.serialize_keras_object(thing))
    return keras.saving.deserialize_keras_object(json.loads(text))


@pytest.mark.parametrize('name', MODELS)
def test_networks_give_the_same_numbers(name):
    model = build_model(MODELS[name])
    for network in (pair[1] for pair in model.averages):
        floats = [weight for weight in network.weights if weight.dtype == 'float32']
        for index, weight in enumerate(floats):
            weight.assign(weight + 0.1 * tf.random.stateless_normal(weight.shape, [3, index]))
        copy = again(network)
        copy.set_weights(network.get_weights())
        assert type(copy) is type(network) and copy.dtype_policy == network.dtype_policy
        assert [each.path for each in copy.weights] == [each.path for each in network.weights]
        x, time = tf.ones([2, *MODELS[name].image_shape]) / 3, tf.constant([0.25, 0.5])
        found, expected = (
            each(x, each.prepare(time)) if hasattr(each, 'prepare') else each(x, time)
            for each in (copy, network)
        )
        np.testing.assert_array_equal(found, expected)
        assert np.abs(expected).max() > 0


@pytest.mark.parametrize('name', MODELS)
def test_models_are_of_the_same_class_and_configuration(name):
    keras.saving.register_keras_serializable('drl_tf')(Config)
    model = build_model(MODELS[name], attempt=2)
    copy = again(model)
    assert type(copy) is type(model) and copy.config == model.config and copy.attempt == 2
