"""Models of 8 px: a t6 model before and after some steps, and the options of a cooperative one."""

import functools

import keras
import numpy as np
import tensorflow as tf

from drl_tf.config import config
from drl_tf.core.build_model import build_model
from drl_tf.data.tuning import untuned
from drl_tf.training.optimizers import compiled_model

OPTIONS = config.Config().replace(
    image_size=8,
    image_channels=1,
    channels=8,
    num_res_blocks=1,
    channel_mult=(1,),
    mcmc_steps=(2,),
    batch_size=4,
    warmup_steps=0,
)
COOPERATIVE = OPTIONS.replace(
    schedule='cosine',
    b2=4e-4,
    initializer=True,
    initializer_channels=8,
    initializer_mult=(1,),
    initializer_blocks=1,
)
PRECONDITIONED = OPTIONS.replace(
    schedule='cosine',
    energy='preconditioned',
    objective='score_matching',
    proposal='tweedie',
    mcmc_steps=(0,),
    act='swish',
    final_act='swish',
    spectral_norm=False,
)
CLASSES = COOPERATIVE.replace(num_classes=3)


def images(batch_size):
    return tf.random.stateless_uniform([batch_size, 8, 8, 1], [1, 2], -1, 1)


@functools.cache
def trained(steps=1, **changes):
    """A model after some steps on one batch, with the logs of the last step; not compiled into a graph, which
    takes longer."""
    model = initial(**changes)
    for _ in range(steps):
        logs = model.train_step(images(model.config.training.batch_size))
    return model, {name: float(value) for name, value in logs.items()}


def fitted(steps, **changes):
    """As `trained`, by Keras `fit`."""
    model = initial(**changes)
    history = model.fit(
        _repeated(model.config.training.batch_size), steps_per_epoch=1, epochs=steps, verbose=0, shuffle=False
    )
    return model, {name: values[-1] for name, values in history.history.items()}


def _repeated(batch_size):
    return untuned(tf.data.Dataset.from_tensors(images(batch_size)).repeat())


def initial(**changes):
    return compiled_model(OPTIONS.replace(**changes))


def change(model, start):
    pairs = zip(model.network.trainable_variables, start.network.trainable_variables, strict=True)
    return np.concatenate([np.ravel(after - before) for after, before in pairs])


def moved(steps, **changes):
    """How far three steps move the weights, `steps` of them in a call."""
    options = dict(clip_norm=0.1, learning_rate=1e-3, **changes)
    model = initial(
        steps_per_execution=steps, train_steps=3, log_every=3, checkpoint_every=3, grid_every=3, **options
    )
    model.fit(_repeated(4), steps_per_epoch=3, verbose=0, shuffle=False)
    return change(model, initial(**options))


def y():
    """Noise in the shape of three images, float32 [3, 8, 8, 1]."""
    return tf.random.stateless_normal([3, 8, 8, 1], [1, 2])


@functools.cache
def moved_model(options):
    """A model whose weights are away from their start, where several layers are zero."""
    keras.utils.set_random_seed(0)
    model = build_model(options)
    for pair in model.averages:
        for network in pair:
            for index, weight in enumerate(network.weights):
                weight.assign(weight + 0.1 * tf.random.stateless_normal(weight.shape, [3, index]))
    return model
