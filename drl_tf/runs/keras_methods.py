"""Methods of `keras.Model` that `drl_tf.EnergyModel` refines, or refuses as they have no meaning here."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras

from drl_tf.base import arguments
from drl_tf.base.errors import UserError, one_line

if TYPE_CHECKING:
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood

KERAS_FILE = '.keras'
_LONGEST_CAUSE = 150
_WEIGHTS_FILES = ('.weights.h5', '.weights.json')


class KerasMethods(keras.Model):
    """The methods of `keras.Model` that `drl_tf.EnergyModel` changes or does not allow.

    Attributes:
      model: the Keras model inside the `EnergyModel`; its `averages` are pairs (network with averaged
        weights, network with raw weights).
    """

    model: RecoveryLikelihood

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Always raises UserError: `fit` chooses losses and optimizers, and takes the learning rate."""
        raise UserError('compile is not needed: the recipe decides losses and optimizers; see fit')

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Raises UserError: a model of energies has several outputs, each with a method of its own."""
        raise UserError('calling the model is not defined: use energy, score, log_prob, denoise or generate')

    def predict(self, *args: Any, **kwargs: Any) -> None:
        """Always raises UserError: use `energy`, `score`, `log_prob`, `denoise` or `generate` instead."""
        raise UserError('predict is not defined: use energy, score, log_prob, denoise or generate')

    def evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Always raises UserError: use `energy` or `log_prob`, or the `validation_data` of `fit`, instead."""
        raise UserError('evaluate is not defined: use energy or log_prob, or validation_data of fit')

    def train_on_batch(self, *args: Any, **kwargs: Any) -> None:
        """Always raises UserError: train with `fit`, or with the training loop in docs/keras.md."""
        raise UserError('train_on_batch is not defined: use fit, or model.train_step in a loop of your own')

    def save(self, filepath: str | os.PathLike, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves the model to one file, for `keras.saving.load_model` and `from_preset`.

        Args:
          filepath: the file; its name must end in `.keras`.
          overwrite: whether to replace an existing file without asking.
          **kwargs: further arguments of `keras.Model.save`.

        Raises:
          UserError: the name does not end in `.keras`.

        Examples:
          >>> model = drl_tf.EnergyModel.from_preset('digits')
          >>> model.save('digits.keras')
          >>> keras.saving.load_model('digits.keras').step
          18000
        """
        path = arguments.path('filepath', filepath)
        if not path.endswith(KERAS_FILE):
            raise UserError(
                f'filepath={path} must end in .keras; save_weights writes .weights.h5, export a SavedModel'
            )
        super().save(path, overwrite=overwrite, **kwargs)

    def save_weights(self, filepath: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Saves all weights of the model, raw and averaged, for `load_weights`.

        Args:
          filepath: the file; its name must end in `.weights.h5`. To split the weights over several files,
            pass `max_shard_size` and a name that ends in `.weights.json`.
          *args, **kwargs: further arguments of `keras.Model.save_weights`, such as `overwrite`.

        Raises:
          UserError: the name has another ending.

        Examples:
          >>> model = drl_tf.EnergyModel.from_preset('digits')
          >>> model.save_weights('digits.weights.h5')
          >>> model.load_weights('digits.weights.h5')
        """
        path = arguments.path('filepath', filepath)
        if not path.endswith(_WEIGHTS_FILES):
            raise UserError(f'filepath={path} must end in .weights.h5; save writes the whole model, .keras')
        super().save_weights(path, *args, **kwargs)

    def load_weights(self, filepath: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Loads a file that `save_weights` wrote; the model keeps its weights if the file does not fit.

        The property `heights` (log Z of each noise level) becomes None: log Z of the new weights is unknown.

        Args:
          filepath: the file, whose name ends in `.weights.h5` or `.weights.json`.
          *args, **kwargs: further arguments of `keras.Model.load_weights`.

        Raises:
          UserError: the file is missing, damaged, or of a model of another architecture.

        Examples:
          >>> model = drl_tf.EnergyModel.from_preset('digits')
          >>> model.save_weights('digits.weights.h5')
          >>> model.load_weights('digits.weights.h5')
        """
        path = arguments.path('filepath', filepath)
        before = self.get_weights()
        try:
            super().load_weights(path, *args, **kwargs)
        except (OSError, ValueError, KeyError) as error:
            super().set_weights(before)
            raise UserError(
                f'filepath={path} cannot be loaded ({one_line(error)[:_LONGEST_CAUSE]}): give a file of '
                'save_weights, of a model with the same options'
            ) from error
        self.forget_results()

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets all weights, raw and averaged.

        Args:
          weights: arrays of the shapes and in the order of `get_weights`.

        Examples:
          >>> model = drl_tf.EnergyModel.from_preset('digits')
          >>> model.set_weights(drl_tf.EnergyModel.from_preset('digits').get_weights())
        """
        super().set_weights(weights)
        self.forget_results()

    def forget_results(self) -> None:
        """Forgets what was measured of former weights, such as log Z; methods that set weights call it."""
        raise NotImplementedError

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Prints Keras' summary of the model, and how many parameters are trained and how many are averages.

        Args:
          *args, **kwargs: arguments of `keras.Model.summary`, such as `print_fn`.

        Examples:
          >>> lines = []
          >>> drl_tf.EnergyModel.from_preset('digits').summary(print_fn=lambda text, **_: lines.append(text))
          >>> print(lines[-1].strip())
          Of these, 217,920 are trained; the other 217,920 are their averages, which the methods use.
        """
        super().summary(*args, **kwargs)
        show: Callable[[str], object] = kwargs.get('print_fn') or print
        trained = sum(raw.count_params() for _, raw in self.model.averages)
        averaged = sum(mean.count_params() for mean, _ in self.model.averages)
        show(
            f' Of these, {trained:,} are trained; the other {averaged:,} are their averages, which the '
            'methods use.'
        )
