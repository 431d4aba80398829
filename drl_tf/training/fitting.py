"""Trains a model on the user's images: the work of `drl_tf.EnergyModel.fit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from drl_tf.base import arguments
from drl_tf.base.errors import DivergenceError, UserError
from drl_tf.config import objectives
from drl_tf.runs import beginnings
from drl_tf.training.given_data import GivenData, refused_values
from drl_tf.training.optimizers import compile_model

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood
_LEARNING_RATES = (1e-8, 1)


class Fitting:
    """Trains a model in one or more calls of `fit`, and counts the training steps.

    If the batch size or the learning rate differs from that of the previous call, the optimizers are reset.

    Args:
      model: the model to train.
      step: number of steps for which the model is already trained.
      beginning: where the weights come from, a dict: 'origin' (about an imported network), 'fitted_steps'
        (steps in earlier calls of `fit`), 'heights' (constants such as log Z, or None), 'seconds' and
        'device' (of training). `runs.beginnings.NEW` has the values for new weights. Further entries are
        results for these weights.

    Attributes:
      recipe: the training options, `model.config.training`, from before the first call of `fit`. `fit`
        changes the batch size and the learning rate in `model.config`.
    """

    def __init__(self, model: RecoveryLikelihood, step: int, beginning: Mapping[str, Any]):
        self.model = model
        self.recipe = model.config.training
        self._step = step
        self._beginning = dict(beginning)
        self._start: int | None = None
        self._settings: tuple[int, float] | None = None

    @property
    def step(self) -> int:
        """Number of training steps done so far; it also counts up while `fit` runs.

        It includes the argument `step` of the constructor, the steps from before the first call of `fit`.
        """
        return self._step + self._taken

    @property
    def beginning(self) -> dict[str, Any]:
        """Where the weights come from: the constructor's argument `beginning`, brought up to date.

        It is a new dict. 'origin', 'seconds' and 'device' are those of the argument. The others change:

        - 'fitted_steps': the number of steps that `fit` has done so far, those in the argument included. It
          also counts up while `fit` runs.
        - 'heights': a dict of constants that turn energies into log p. Its entry 'log_z' is log Z, the log of
          the normalizing constant, of each noise level. 'heights' is None if the constants are unknown, or
          once `fit` has changed the weights.
        - Further entries, such as results of --mode=evaluate, are dropped once `fit` has changed the weights.
        """
        fitted = self._beginning['fitted_steps'] + self._taken
        known = beginnings.without_results(self._beginning) if self._taken else self._beginning
        return {**known, 'fitted_steps': fitted}

    def forget_results(self) -> None:
        """Drops log Z and all scores from `beginning`; call this after you replace the weights.

        They are valid only for the weights for which they were measured.
        """
        self._beginning = beginnings.without_results(self._beginning)

    @property
    def _taken(self) -> int:
        """Number of steps in the running call of `fit`; 0 outside a call."""
        return 0 if self._start is None else self.model.step - self._start

    def batch_size(self, batch_size: int | None, data: GivenData) -> int:
        """Checks the batch size that a user gave to `fit`, or chooses one if it is None.

        Args:
          batch_size: images per step, or None. For None, the method takes the size of the batches if the user
            gave a dataset of batches. Otherwise, it takes the configuration's batch size, or all images
            if they are fewer, and rounds down to a multiple of the option `microbatches`.
          data: the images to train on.

        Returns:
          The number of images per step.

        Raises:
          UserError: `batch_size` is no whole number, is below 1 or above the number of images, or is not a
            multiple of the option `microbatches`.
        """
        parts = self.recipe.microbatches
        count = data.count or arguments.LARGEST
        batch_size = data.batch_size if batch_size is None else batch_size
        if batch_size is None:
            batch_size = max(1, min(self.recipe.batch_size, count) // parts) * parts
        batch_size = arguments.number('batch_size', batch_size, 1, count)
        if batch_size % parts:
            raise UserError(
                f'batch_size={batch_size} must be a multiple of {parts}, the microbatches of the run'
            )
        return batch_size

    def learning_rate(self, learning_rate: float | None) -> float:
        """Checks the learning rate that a user gave to `fit`, and returns it.

        Args:
          learning_rate: the learning rate; None: that of the configuration.

        Raises:
          UserError: `learning_rate` is no number from 1e-8 to 1.
        """
        learning_rate = self.recipe.learning_rate if learning_rate is None else learning_rate
        return arguments.number('learning_rate', learning_rate, *_LEARNING_RATES, whole=False)

    def fit(
        self, data: GivenData, batch_size: int, learning_rate: float, **options: Any
    ) -> keras.callbacks.History:
        """Trains the model on images with Keras `fit`.

        Args:
          data: the checked images, a `GivenData`, which makes batches of them.
          batch_size: images per step, checked by the method `batch_size`.
          learning_rate: Adam's learning rate, checked by the method `learning_rate`.
          **options: arguments of Keras `fit`. `callbacks` (a list) and `steps_per_epoch` must be given;
            `epochs` and `verbose` may be. With steps_per_epoch=None, an epoch is one pass over the images.

        Returns:
          The Keras `History`: the mean of each logged value over each epoch.

        Raises:
          UserError: the model has exact energies (--energy=exact), which cannot be trained; a loss compares
            log densities, and the networks compute in bfloat16; an image of a dataset is out of range; or,
            with steps_per_epoch=None, the dataset has no end or holds fewer images than one batch.
          DivergenceError: training diverged; the weights and the step are again those before the call.
        """
        config = self.model.config
        if config.network.energy == 'exact':
            raise UserError('fit: exact energies hold their training images and have no weights to train')
        if config.training.precision == 'bfloat16' and objectives.compares_densities(config):
            raise UserError(
                'fit: a loss of this model compares log densities, which bfloat16 rounds too much: load it '
                "with dtype='float32'"
            )
        self._compile(batch_size, learning_rate)
        options['steps_per_epoch'] = options['steps_per_epoch'] or data.num_batches(batch_size)
        batches = data.batches(batch_size, self.recipe.seed)
        step = self._start = self.model.step
        weights = [[network.get_weights() for network in pair] for pair in self.model.averages]
        options['callbacks'] = [_StopOnDivergence(), _EpochMeans(), *options['callbacks']]
        try:
            with refused_values():
                return self.model.fit(batches, shuffle=False, **options)
        except DivergenceError:
            self._go_back(config, step, weights)
            raise
        finally:
            self._step, self._beginning, self._start = self.step, self.beginning, None

    def _compile(self, batch_size: int, learning_rate: float) -> None:
        """Compiles the model, with one step per execution, so that an epoch can end after any step."""
        if self._settings == (batch_size, learning_rate):
            return
        self.model.config = self.model.config.replace(
            batch_size=batch_size, learning_rate=learning_rate, steps_per_execution=1
        )
        self.model.steps_before = self.step
        compile_model(self.model)
        self._settings = (batch_size, learning_rate)

    def _go_back(self, config: Config, step: int, weights: Sequence[Sequence[list]]) -> None:
        """Restores configuration, step and weights; resets the optimizers, whose averages diverged too."""
        for pair, former in zip(self.model.averages, weights, strict=True):
            for network, values in zip(pair, former, strict=True):
                network.set_weights(values)
        self.model.config = config
        self.model.optimizer.iterations.assign(step)
        self.model.first_bad_step.assign(-1)
        self._settings = None


class _StopOnDivergence(keras.callbacks.Callback):
    """Raises `DivergenceError` after an epoch in which the energies diverged."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        bad = int(self.model.first_bad_step.read_value())
        if bad >= 0:
            remedy = 'lower learning_rate, or train on more images'
            raise DivergenceError(f'the energies diverged at step {bad} of this training: {remedy}', bad)


class _EpochMeans(keras.callbacks.Callback):
    """Gives later callbacks the means over an epoch; Keras itself would give the values of the last step."""

    async_safe = True  # Tells Keras that no step must wait for the device.

    def on_epoch_begin(self, epoch: int | None, logs: Any = None) -> None:
        self.seen: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen.append(logs)

    def on_epoch_end(self, epoch: int | None, logs: Any = None) -> None:
        means = {name: float(np.mean([step[name] for step in self.seen])) for name in self.seen[0]}
        logs.update(means)

    def on_train_end(self, logs: Any = None) -> None:
        self.on_epoch_end(None, logs)
