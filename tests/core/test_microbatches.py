"""Gradient accumulation and recomputation change the memory of a step, not the step."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from helpers.small_models import CLASSES, PRECONDITIONED
from helpers.tiny import TINY, refused

from drl_tf.core import noise
from drl_tf.training.optimizers import compiled_model

CDRL = CLASSES.replace(
    batch_size=8,
    initializer_dropout=0.2,
    dropout=0.1,
    clip_norm=0.1,
    learning_rate=1e-3,
    initializer_learning_rate=1e-3,
)
NORMALISED = PRECONDITIONED.replace(
    num_classes=3,
    batch_size=8,
    levels='continuous',
    time_score=0.1,
    level_classification=0.5,
    recovery_nce=0.5,
    recovery_off_data=0.5,
    contrastive=0.1,
    contrastive_after=1,
    mcmc_steps=(2,),
    dropout=0.1,
    clip_norm=0.1,
    learning_rate=1e-3,
)
UNET = PRECONDITIONED.replace(
    network='unet',
    batch_size=8,
    levels='continuous',
    clip_norm=0.1,
    learning_rate=1e-3,
)
ALONE = NORMALISED.replace(
    time_score=0.0,
    level_classification=0.0,
    recovery_nce=0.0,
    recovery_off_data=0.0,
    objective='contrastive',
    levels='walk',
    contrastive_corrector='langevin',
    contrastive=0.0,
    contrastive_after=0,
    shared_noise=True,
)


def batch(options):
    images = tf.random.stateless_uniform([options.training.batch_size, 8, 8, 1], [1, 2], -1, 1)
    return (images, tf.range(options.training.batch_size) % 4) if options.data.num_classes else images


@functools.cache
def after_steps(options, compiled=False):
    """Every variable of training and the logs after two steps, from weights that are away from their start.

    The steps run one operation after the other, which takes less time than a graph, or compiled by XLA."""
    model = compiled_model(options)
    variables = [
        *model.weights,
        *(variable for optimizer in model.optimizers for variable in optimizer.variables),
    ]
    for network, _ in model.learners.values():
        for index, weight in enumerate(network.weights):
            weight.assign(weight + 0.1 * tf.random.stateless_normal(weight.shape, [3, index]))
    step = model.train_step
    if compiled:
        step = tf.function(step, autograph=False, jit_compile=True)
    for _ in range(2):
        logs = step(batch(options))
    return {variable.path: variable.numpy() for variable in variables}, {
        name: float(value) for name, value in logs.items()
    }


def assert_same(found, expected, tolerance):
    (variables, logs), (expected_variables, expected_logs) = found, expected
    assert logs == pytest.approx(expected_logs, rel=1e-4)
    assert variables.keys() == expected_variables.keys()
    for path, value in variables.items():
        np.testing.assert_allclose(
            value, expected_variables[path], rtol=tolerance, atol=tolerance, err_msg=path
        )


# The step of cdrl holds that of t6; that of preconditioned has all terms of both stages here.
@pytest.mark.slow
@pytest.mark.parametrize(
    'options',
    [CDRL, NORMALISED, UNET],
    ids=['cdrl', 'preconditioned', 'unet'],
)
def test_recomputed_microbatches_take_the_step_of_the_whole_batch(options):
    """Two steps, with dropout (but for the UNet), clipping and, for cdrl, hidden classes."""
    assert_same(after_steps(options.replace(microbatches=4, remat=True)), after_steps(options), 2e-5)


@pytest.mark.slow
def test_xla_takes_a_step_with_every_term():
    """Shapes are static and loops bounded, so that the step becomes a program of XLA; its numbers are finite
    without XLA. test_run_lowered.py compiles the recipes."""
    step = tf.function(compiled_model(NORMALISED).train_step, autograph=False, jit_compile=True)
    assert 'while' in step.experimental_get_compiler_ir(batch(NORMALISED))(stage='hlo')
    assert np.isfinite(list(after_steps(NORMALISED)[1].values())).all()


@pytest.mark.slow
def test_xla_takes_the_same_step_in_parts():
    """It draws other noise than TensorFlow does otherwise, and the same noise in parts."""
    drawn = noise.normal([1, 2], [8, 2])
    assert np.abs(tf.function(noise.normal, jit_compile=True)([1, 2], [8, 2]) - drawn).max() > 0.1
    whole = after_steps(ALONE, compiled=True)
    assert_same(after_steps(ALONE.replace(microbatches=2, remat=True), compiled=True), whole, 2e-5)


@pytest.mark.parametrize(
    ('flags', 'part'),
    [
        (['--microbatches=3'], '--batch_size=8 must be a multiple of --microbatches=3'),
        (
            ['--microbatches=2', '--norm=batch'],
            '--norm=batch ties the images of a batch together: it needs --microbatches=1',
        ),
        (
            ['--microbatches=2', '--dry_run_devices=8'],
            '--batch_size=8 must be a multiple of 8 devices times --microbatches=2',
        ),
    ],
)
def test_what_cannot_be_taken_in_parts(capsys, flags, part):
    assert part in refused(capsys, *TINY, '--dry_run', *flags)
