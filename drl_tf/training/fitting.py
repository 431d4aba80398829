"""Training on images of one's own in Python: what `drl_tf.load(..).fit` does."""

import keras
import numpy as np
import tensorflow as tf

from drl_tf.base import arguments
from drl_tf.base.errors import DivergenceError, UserError
from drl_tf.training.optimizers import compile_model

_LEARNING_RATES = (1e-8, 1)


class Fitting:
    """Goes on training a model; its optimizers go on where the settings are those of the call before.

    Args:
      model: a `RecoveryLikelihood`.

    Attributes:
      recipe: the training options of the run that the model comes from.
      steps: how many steps all calls took together.
    """

    def __init__(self, model):
        self.model = model
        self.recipe = model.config.training
        self.steps = 0
        self._settings = None

    def batch_size(self, batch_size, count):
        """Images per step, a multiple of the microbatches of the run; the run's own where None.

        Raises:
          UserError: it is no whole number from 1 to `count`, or no such multiple.
        """
        parts = self.recipe.microbatches
        if batch_size is None:
            batch_size = max(1, min(self.recipe.batch_size, count) // parts) * parts
        batch_size = arguments.number('batch_size', batch_size, 1, count)
        if batch_size % parts:
            raise UserError(
                f'batch_size={batch_size} must be a multiple of {parts}, the microbatches of the run'
            )
        return batch_size

    def learning_rate(self, learning_rate):
        """A learning rate, the run's where None; raises UserError for one out of bounds."""
        learning_rate = self.recipe.learning_rate if learning_rate is None else learning_rate
        return arguments.number('learning_rate', learning_rate, *_LEARNING_RATES, whole=False)

    def fit(self, data, count, batch_size, learning_rate, **options):
        """Runs Keras `fit`.

        Args:
          data: float32 [count, H, W, C] in [-1, 1], or the pair of these and labels from 1.
          count: how many images.
          batch_size, learning_rate: as the methods of these names give them.
          **options: epochs, verbose and callbacks, as in Keras.

        Returns:
          The Keras `History` with means over each epoch.

        Raises:
          DivergenceError: the energies ran away; weights and step are as they were before.
        """
        config = self.model.config
        self._compile(batch_size, learning_rate)
        batches = tf.data.Dataset.from_tensor_slices(data).shuffle(count, self.recipe.seed)
        batches = batches.repeat().batch(batch_size, drop_remainder=True)
        step = self.model.step
        weights = [[network.get_weights() for network in pair] for pair in self.model.averages]
        options['callbacks'] = [_StopOnDivergence(), _EpochMeans(), *options['callbacks']]
        try:
            return self.model.fit(batches, steps_per_epoch=count // batch_size, shuffle=False, **options)
        except DivergenceError:
            self._go_back(config, step, weights)
            raise
        finally:
            self.steps += self.model.step - step

    def _compile(self, batch_size, learning_rate):
        """Makes the model ready to train, one step in each call, so that an epoch ends where it should."""
        if self._settings == (batch_size, learning_rate):
            return
        self.model.config = self.model.config.replace(
            batch_size=batch_size, learning_rate=learning_rate, steps_per_execution=1
        )
        compile_model(self.model)
        self._settings = (batch_size, learning_rate)

    def _go_back(self, config, step, weights):
        """Restores a state, with optimizers that start anew: what they averaged was on its way out too."""
        for pair, former in zip(self.model.averages, weights, strict=True):
            for network, values in zip(pair, former, strict=True):
                network.set_weights(values)
        self.model.config = config
        self.model.optimizer.iterations.assign(step)
        self.model.first_bad_step.assign(-1)
        self._settings = None


class _StopOnDivergence(keras.callbacks.Callback):
    """Raises `DivergenceError` after an epoch in which the energies ran away."""

    def on_epoch_end(self, epoch, logs=None):
        bad = int(self.model.first_bad_step.read_value())
        if bad >= 0:
            remedy = 'lower learning_rate, or take more images'
            raise DivergenceError(f'the energies ran away at step {bad} of this training: {remedy}', bad)


class _EpochMeans(keras.callbacks.Callback):
    """Gives the callbacks after it means over an epoch; Keras would give the values of the last step."""

    async_safe = True  # It makes no step wait for the device.

    def on_epoch_begin(self, epoch, logs=None):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(logs)

    def on_epoch_end(self, epoch, logs=None):
        logs.update({name: float(np.mean([step[name] for step in self.seen])) for name in self.seen[0]})

    def on_train_end(self, logs=None):
        self.on_epoch_end(None, logs)
