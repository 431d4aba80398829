"""`EnergyModel.fit`: its steps, callbacks, validation, and a loop of one's own."""

import contextlib
import threading
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import golden, small_models

import drl_tf
from drl_tf.base import pixels
from drl_tf.base.errors import DivergenceError, UserError
from drl_tf.config import config as configuration
from drl_tf.core.build_model import build_model
from drl_tf.data.indexed import random_places
from drl_tf.runs.inputs import Inputs
from drl_tf.training import given_data, validation
from drl_tf.training.optimizers import compile_model

IMAGES = np.random.default_rng(0).integers(0, 256, [20, 8, 8, 1]).astype(np.uint8)
LABELS = np.arange(20) % 10


@pytest.mark.slow
def test_fit_goes_on():
    """White images make samples whiter; one fit goes on from another."""
    model = drl_tf.EnergyModel.from_preset(str(golden.DIRECTORY / 'cdrl'))
    before, images = model.generate(8, seed=1), np.full([40, 8, 8, 1], 255, np.uint8)
    history = model.fit(images, np.arange(40) % 10, epochs=2, batch_size=8, learning_rate=3e-3, verbose=0)
    assert [len(values) for values in history.history.values()] == [2] * len(
        history.history
    ) and model.step == golden.STEPS + 10
    model.fit(images, -1, epochs=4, batch_size=8, learning_rate=3e-3, verbose=0)
    assert model.step == golden.STEPS + 30
    assert model.generate(8, seed=1).mean() > before.mean() + 20


def of_run(tmp_path, **options):
    """The model of a copy of the small run whose configuration has other training options."""
    directory = golden.copied('t6', tmp_path / 'run')
    configuration.load(str(directory)).replace(**options).save(str(directory))
    return drl_tf.EnergyModel.from_preset(directory)


def test_a_fit_takes_the_steps_of_its_epochs(tmp_path):
    """A fit takes the steps of its epochs even where the run took ten in each call. It refuses a batch that
    is no multiple of the run's microbatches."""
    several = dict(steps_per_execution=10, train_steps=20, log_every=10, checkpoint_every=10, grid_every=10)
    model = of_run(tmp_path, microbatches=4, **several)
    with pytest.raises(
        UserError, match=r'^batch_size=5 must be a multiple of 4, the microbatches of the run'
    ):
        model.fit(IMAGES, batch_size=5, verbose=0)
    history = model.fit(IMAGES[:15], epochs=1, batch_size=4, verbose=0)
    assert model.step == golden.STEPS + 3 and len(history.history['loss']) == 1
    model.fit(IMAGES[:7], verbose=0)
    assert model.step == golden.STEPS + 4


@pytest.fixture(scope='module')
def trained():
    """The small run of t6, which the tests of this module go on training."""
    return drl_tf.EnergyModel.from_preset(golden.DIRECTORY / 't6')


def test_a_fit_that_runs_away_leaves_the_model_as_it_was(trained):
    model, step = trained, trained.step
    images, energies = model.generate(4, seed=1), model.energy(IMAGES)
    with pytest.raises(DivergenceError, match='the energies diverged'):
        model.fit(IMAGES, epochs=2, batch_size=10, learning_rate=1.0, verbose=0)
    assert model.config.training.learning_rate == 1e-3
    assert model.step == step and np.abs(model.generate(4, seed=1).astype(int) - images).max() <= 1
    np.testing.assert_allclose(model.energy(IMAGES), energies, rtol=1e-4)
    model.fit(IMAGES, batch_size=10, verbose=0)
    assert model.step == step + 2


def test_callbacks_and_the_history_get_means_of_the_epoch(trained):
    """Callbacks and the history get one mean per log and epoch, also of score matching, where Keras would
    give an array over the levels. A callback can stop the fit."""

    class Record(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.steps, self.epochs, self.end = [], [], None

        def on_train_batch_end(self, batch, logs=None):
            self.steps.append(logs)

        def on_epoch_end(self, epoch, logs=None):
            self.epochs.append(dict(logs))

        def on_train_end(self, logs=None):
            self.end = dict(logs)

    for fitted in (drl_tf.EnergyModel(small_models.PRECONDITIONED), trained):
        seen, stop = Record(), keras.callbacks.EarlyStopping(monitor='loss', mode='max', min_delta=1e9)
        history = fitted.fit(IMAGES, epochs=4, batch_size=10, verbose=0, callbacks=[seen, stop])
        assert len(history.epoch) == 2 and {'loss', 'gradient_norm'} <= set(history.history)
        for name, values in history.history.items():
            assert all(isinstance(value, float) for value in values)
            means = np.reshape([step[name] for step in seen.steps], [2, 2]).mean(axis=1)
            np.testing.assert_allclose(values, means, rtol=1e-6)
            assert [epoch[name] for epoch in seen.epochs] == values and seen.end[name] == values[-1]


@pytest.mark.slow
def test_a_dataset_trains_as_its_batches_do(trained):
    """A `tf.data.Dataset` gives the steps of its batches in their order, `steps_per_epoch` ends an epoch."""
    batches = tf.data.Dataset.from_tensor_slices(IMAGES).batch(5)
    for dataset, options, steps in (
        (batches, {'batch_size': 5}, 8),
        (batches.repeat(), {'batch_size': 5, 'steps_per_epoch': 1}, 2),
        (tf.data.Dataset.from_tensor_slices(IMAGES).batch(5, drop_remainder=True), {}, 8),
    ):
        before = trained.step
        history = trained.fit(dataset, epochs=2, verbose=0, learning_rate=1e-5, **options)
        assert trained.step == before + steps and len(history.history['loss']) == 2
    each = tf.data.Dataset.from_tensor_slices(IMAGES / np.float32(127.5) - 1)
    energies = []
    for images in (each, IMAGES):
        fitted = drl_tf.EnergyModel.from_preset(golden.DIRECTORY / 't6')
        fitted.fit(images, epochs=2, verbose=0, learning_rate=1e-5, batch_size=20)
        assert fitted.step == golden.STEPS + 2
        energies.append(fitted.energy(IMAGES))
    np.testing.assert_allclose(*energies, rtol=1e-3)


@pytest.mark.parametrize('dtype', ['uint8', 'uint32', 'int8', 'int64'])
def test_a_dataset_has_labels_of_any_whole_type(dtype):
    pairs = tf.data.Dataset.from_tensor_slices((IMAGES[:3], np.array([0, 2, 1], dtype)))
    found = given_data.given(Inputs(small_models.CLASSES), pairs, None)
    assert [label for _, label in found.images.as_numpy_iterator()] == [1, 3, 2]


@pytest.mark.slow
def test_validation_tells_of_held_out_images():
    """Validation gives the mean `energy` of held-out images, its gap to training images, and a finite
    distance. Eight images are too few for a distance."""
    model = drl_tf.EnergyModel.from_preset(golden.DIRECTORY / 'preconditioned')
    x, y = IMAGES.repeat(2, axis=0), LABELS.repeat(2)
    history = model.fit(
        x, y, epochs=2, batch_size=20, learning_rate=1e-6, verbose=0, validation_data=(x[20:], y[20:])
    ).history
    some = random_places(20, 40)
    seen, held_out = (model.energy(x[few], labels=y[few]).mean() for few in (some, slice(20, None)))
    np.testing.assert_allclose(history['val_energy'][1], held_out, rtol=1e-3)
    np.testing.assert_allclose(history['val_energy_gap'][1], held_out - seen, rtol=0.05)
    assert np.isfinite(history['val_distance']).all() and len(history['val_distance']) == 2
    pairs = tf.data.Dataset.from_tensor_slices((x[20:], y[20:])).batch(7)
    options = dict(epochs=2, batch_size=20, learning_rate=1e-6, verbose=0, validation_freq=2)
    again = model.fit(x, y, validation_data=pairs, **options).history
    mean = model.energy(x[20:], labels=y[20:]).mean()
    np.testing.assert_allclose(again['val_energy'], [mean], rtol=1e-3)
    few = model.fit(x, y, batch_size=20, verbose=0, validation_data=(x[:8], y[:8])).history
    assert 'val_energy' in few and 'val_distance' not in few


def test_validation_without_a_network_for_features_says_so(caplog):
    options = dict(dataset='cifar10', image_channels=3, extractor='inception', inception='nowhere')
    model = drl_tf.EnergyModel(small_models.PRECONDITIONED.replace(**options))
    images = np.zeros([20, 8, 8, 3], np.uint8)
    history = model.fit(images, batch_size=20, verbose=0, validation_data=images).history
    assert 'val_energy' in history and 'val_distance' not in history
    (said,) = [line for line in caplog.messages if 'no val_distance' in line]
    assert 'inception=nowhere' in said and '--' not in said


def test_validation_takes_random_images():
    """Images may be in the order of their classes. Those of a dataset are the first: it may have no end."""
    ordered = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones([8, 8, 1], np.uint8)
    inputs = Inputs(small_models.CLASSES)
    labels = np.arange(20) // 7
    data = given_data.given(inputs, ordered, labels)
    images, classes = given_data.arrays(inputs, validation.some(data, 5))
    chosen = random_places(5, 20)
    np.testing.assert_allclose(images, pixels.from_levels(np.float32(ordered[chosen])), atol=1e-6)
    assert classes.tolist() == labels[chosen].tolist() and chosen.tolist() != [0, 1, 2, 3, 4]
    endless = tf.data.Dataset.from_tensor_slices((ordered, labels)).repeat()
    images, _ = given_data.arrays(inputs, validation.some(given_data.given(inputs, endless, None), 5))
    np.testing.assert_allclose(images, pixels.from_levels(np.float32(ordered[:5])), atol=1e-6)


def test_the_distance_is_to_random_held_out_images():
    """2,000 points on a line, in order, of which 1,000 are used; the model generates the points of the labels
    that it gets. In reverse order, the first labels would be those of the other half of the line."""
    points = np.linspace(-1, 1, 4000, dtype=np.float32).reshape(2000, 1, 1, 2)
    public = types.SimpleNamespace(
        config=types.SimpleNamespace(planar=True),
        model=types.SimpleNamespace(ema_network=types.SimpleNamespace(converged=contextlib.nullcontext)),
        forget_steps=lambda: None,
        energy=lambda images, labels: images.mean(axis=(1, 2, 3)),
        generate=lambda count, labels: points[labels][:count],
    )
    labels = np.arange(2000)
    distances = []
    for classes in (labels, labels[::-1]):
        logs = {}
        validation.Validation(public, (points, classes), (points, classes), 1).on_epoch_end(0, logs)
        distances.append(logs['val_distance'])
        assert logs['val_energy_gap'] == 0
    assert np.abs(distances).max() < 0.05


def test_points_have_a_distance_too():
    """A fit also forgets log Z, which is that of the former weights."""
    points = drl_tf.EnergyModel.from_preset('toy_checkerboard')
    x = points.generate(40, seed=3)
    x[0] = 1.01  # A little beyond the data.
    assert np.isfinite(points.log_prob(x, level=0)).all()
    logs = [
        points.fit(x, batch_size=40, verbose=0, learning_rate=1e-8, validation_data=held_out).history
        for held_out in (x, x + 1)
    ]
    assert logs[0]['val_distance'][0] + 1 < logs[1]['val_distance'][0]
    with pytest.raises(UserError, match='log Z of the energies is not known'):
        points.log_prob(x, level=0)


def test_checkpoints_of_keras_hold_the_public_model(trained, tmp_path):
    """A Keras checkpoint holds the public model, and `stop_training` of a callback ends the fit."""
    model, step = trained, trained.step
    path = tmp_path / 'best.keras'

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = self.model.step == step + 3

    checkpoint_ = keras.callbacks.ModelCheckpoint(path)
    model.fit(IMAGES, epochs=3, batch_size=10, learning_rate=1e-3, verbose=0, callbacks=[Stop(), checkpoint_])
    saved = keras.saving.load_model(path)
    assert model.step == saved.step == step + 3
    np.testing.assert_allclose(saved.energy(IMAGES), model.energy(IMAGES), rtol=1e-4)
    model.fit(IMAGES, batch_size=10, learning_rate=1e-3, verbose=0, callbacks=checkpoint_)
    assert model.step == keras.saving.load_model(path).step == step + 5


def test_losses_that_had_begun_go_on():
    """`heights_after` counts the steps of the run, not those of this fit."""
    options = small_models.PRECONDITIONED.replace(levels='continuous', recovery_nce=0.5, heights_after=3)
    fitted, losses = drl_tf.EnergyModel(build_model(options), step=2), []
    for step in (3, 4):
        history = fitted.fit(IMAGES[:10], batch_size=10, verbose=0)
        assert fitted.step == step and len(history.epoch) == 1
        losses.append(np.nanmax(fitted.model.level_means['recovery_nce'].result()))
    assert losses[0] == 0 < losses[1]


def test_a_single_callback_runs_in_step_with_the_training():
    """Keras would run it in another thread, so that training went on beyond its stop."""
    model, threads = drl_tf.EnergyModel(small_models.PRECONDITIONED), []

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            threads.append(threading.current_thread())
            self.model.stop_training = True

    model.fit(IMAGES, epochs=3, batch_size=5, verbose=0, callbacks=Stop())
    assert model.step == 1 and threads == [threading.current_thread()]


def test_a_loop_of_ones_own_takes_the_steps_of_fit():
    """As docs/keras.md shows it but for its graph, with the same batches."""
    config = small_models.OPTIONS.replace(batch_size=5, learning_rate=1e-3)
    images = IMAGES[:10] / np.float32(127.5) - 1
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(5, drop_remainder=True)
    fitted, by_hand = drl_tf.EnergyModel(config), drl_tf.EnergyModel(config)
    start = fitted.energy(IMAGES)
    fitted.fit(dataset, epochs=2, verbose=0)
    inside = compile_model(by_hand.model)
    for batch in dataset.repeat(2):
        inside.train_step(batch)
    inside.ema_network.converge_u()
    assert inside.step == fitted.step == 4
    np.testing.assert_allclose(by_hand.energy(IMAGES), fitted.energy(IMAGES), rtol=1e-4)
    assert np.abs(fitted.energy(IMAGES) / start - 1).max() > 1e-3
