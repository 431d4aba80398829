"""`drl_tf.EnergyModel`: a model in Python that samples, scores, denoises, trains, saves and exports.

Images are uint8, or floats in [-1, 1], of shape [n, H, W, C]; points of the plane are floats, [n, 1, 1, 2].
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import keras
from numpy.typing import ArrayLike

import drl_tf
from drl_tf.base import arguments
from drl_tf.base.deprecation import deprecated
from drl_tf.config import config as configuration
from drl_tf.config.config import Config
from drl_tf.core.build_model import build_model
from drl_tf.core.recovery_likelihood import RecoveryLikelihood
from drl_tf.core.saving import register
from drl_tf.editing.methods import Editing
from drl_tf.evaluation.detecting import Detecting
from drl_tf.runs import beginnings, checkpoint, exported
from drl_tf.runs.generating import Callbacks
from drl_tf.runs.keras_methods import KerasMethods
from drl_tf.serving import export, hub, provenance
from drl_tf.serving import preset as saved_preset
from drl_tf.training import given_data, validation
from drl_tf.training.fitting import Fitting


class EnergyModel(Editing, Detecting, KerasMethods):
    """An energy-based model of images, which samples and scores with averaged weights (EMA).

    `from_preset` loads a trained model. The constructor makes an untrained model from a configuration.

    Args:
      model: a `Config`, for random weights; or a `RecoveryLikelihood` (the result of `build_model`). Call
        `ema_network.converge_u()` of the `RecoveryLikelihood` first: its spectral norms are then exact.
      step: number of training steps that the weights have had so far.
      beginning: where the weights come from, a dict: 'origin' (a dict about an imported network, or {}),
        'fitted_steps' (number of steps of `fit`), 'heights' (value of the property `heights`), 'seconds' and
        'device' (of the training). The last three can be None. Further entries are results for these weights,
        such as 'evaluations'. The default describes untrained weights.

    Attributes:
      model: the Keras model inside, a `RecoveryLikelihood`, which holds the networks.
      presets: the models that come with the package, {name: {'metadata': {'description': .., 'path': ..}}}.

    Examples:
      >>> sorted(drl_tf.EnergyModel.presets)
      ['digits', 'toy_checkerboard']
      >>> drl_tf.EnergyModel.from_preset('digits').image_shape
      (16, 16, 1)
    """

    presets = saved_preset.Presets()

    def __init__(
        self,
        model: Config | RecoveryLikelihood,
        step: int = 0,
        beginning: Mapping[str, Any] = beginnings.NEW,
    ):
        if isinstance(model, Config):
            keras.utils.set_random_seed(model.training.seed)
            model = build_model(model)
            model.ema_network.converge_u()
        super().__init__(model)
        self._fitting = Fitting(model, step, beginning)
        self.built = True

    @property
    def step(self) -> int:
        """Number of training steps done so far, before and in calls of `fit`; it grows while `fit` runs."""
        return self._fitting.step

    @property
    def heights(self) -> Mapping[str, Any] | None:
        """Constants that turn energies into log p; None if log Z is not known.

        The entry 'log_z' has log Z of each noise level; `drl_tf.runs.heights.Heights` explains all entries.
        """
        return self._fitting.beginning['heights']

    @property
    def optimizer(self) -> keras.optimizers.Optimizer:
        """The optimizer of the energy network; raises AttributeError before the first call of `fit`."""
        return self.model.optimizer

    @classmethod
    def from_preset(
        cls, preset: str | os.PathLike, load_weights: bool = True, dtype: str = 'float32'
    ) -> 'EnergyModel':
        """Loads a trained model.

        Args:
          preset: a name in `EnergyModel.presets`; a directory of `save_to_preset` or `export`; the --workdir
            of a run; a `.keras` file; 'hf://org/model'; or 'kaggle://org/model/keras/variant'.
          load_weights: whether to load the trained weights; False: random weights.
          dtype: 'float32'; 'bfloat16', which is faster if the hardware computes in bfloat16; or 'auto', which
            means 'bfloat16' on such hardware and 'float32' on any other, and for chains of MALA and HMC.

        Raises:
          UserError: the model does not exist, cannot be reached or is damaged.

        Examples:
          >>> model = drl_tf.EnergyModel.from_preset('digits')
          >>> images = model.generate(4, labels=3, seed=1)      # uint8 [4, 16, 16, 1]
          >>> energies = model.energy(images, labels=3)         # float32 [4], in nats
          >>> images.shape, energies.shape
          ((4, 16, 16, 1), (4,))
        """
        path = arguments.path('preset', preset, 'a path, the URI of a hub, or the name of a model')
        with arguments.named(workdir='preset', precision='dtype'):
            directory = saved_preset.found(hub.local(path))
            if saved_preset.is_preset(directory):
                return cls._of_preset(directory, load_weights, dtype)
            is_export = exported.source(directory) == directory
            config = exported.load_config(directory) if is_export else configuration.load(directory)
            config = saved_preset.with_precision(config, dtype)
            if not load_weights:
                return cls(config)
            loaded, step = checkpoint.load_model(directory, config)
            return cls(loaded, step, provenance.history(directory, step, model=loaded))

    @classmethod
    def _of_preset(cls, directory: str, load_weights: bool, dtype: str) -> 'EnergyModel':
        """Loads a directory that `save_to_preset` has written, or a `.keras` file."""
        saved = saved_preset.read(directory)
        config = saved_preset.with_precision(Config.from_config(saved['options']), dtype)
        if not load_weights:
            return cls(config)
        model = cls(build_model(config), saved['step'], saved['beginning'])
        saved_preset.load_weights(model, directory)
        return model

    def save_to_preset(self, directory: str | os.PathLike) -> None:
        """Saves the model as a preset of keras-hub, which `from_preset` loads and `upload_preset` publishes.

        Args:
          directory: where to write; a preset in this directory is replaced.

        Raises:
          UserError: the directory holds other files, or cannot be written to.

        Examples:
          >>> drl_tf.EnergyModel.from_preset('digits').save_to_preset('mine')
          >>> drl_tf.EnergyModel.from_preset('mine').step
          18000
        """
        directory = arguments.path('directory', directory)
        config = self._trained_config().portable()
        with arguments.named(directory='directory'):
            saved_preset.write(self, self.model, config, self.step, directory, self._fitting.beginning)

    def forget_results(self) -> None:
        """Forgets log Z, scores and adapted chain steps; methods that set other weights call it."""
        self._fitting.forget_results()
        self.forget_steps()

    def get_config(self) -> dict[str, Any]:
        """Returns a dict for `from_config`: the options, the training step and the origin of the weights."""
        return {
            'options': self._trained_config().portable().get_config(),
            'step': self.step,
            'beginning': self._fitting.beginning,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> 'EnergyModel':
        """Builds a model with random weights from the dict that `get_config` returns.

        The dict has `step` but no weights, so load the trained weights next. `custom_objects` is ignored.

        Examples:
          >>> model = drl_tf.EnergyModel.from_preset('digits')
          >>> drl_tf.EnergyModel.from_config(model.get_config()).step
          18000
        """
        with arguments.named():
            options = Config.from_config(config['options'])
        return cls(build_model(options), config['step'], config['beginning'])

    def fit(
        self,
        images: Any,
        labels: ArrayLike | None = None,
        epochs: int = 1,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        verbose: str | int = 'auto',
        callbacks: Callbacks = None,
        validation_data: Any = None,
        validation_freq: int = 1,
        steps_per_epoch: int | None = None,
    ) -> keras.callbacks.History:
        """Trains the model on your images.

        Args:
          images: uint8 or floats in [-1, 1], [n, H, W, C]; or a `tf.data.Dataset` of images or of batches.
            Arrays are shuffled, a dataset is not.
          labels: only for a model with classes: the class of each image from 0, or -1 for no class, [n]. If
            `images` is a dataset, leave `labels` out; the dataset holds pairs (images, labels).
          epochs: number of passes over the images.
          batch_size: images per step. None: the batch size of a dataset whose batches are all equal, by
            `batch(n, drop_remainder=True)`; otherwise that of the configuration, or n if n is smaller.
          learning_rate: Adam's learning rate after the warm-up. None: the value in the configuration.
          verbose: what to print, as in Keras `fit`.
          callbacks: a Keras callback or a list of them; their attribute `model` is this `EnergyModel`.
          validation_data: held-out images, a pair (images, labels), or a finite `tf.data.Dataset`. The logs
            then have 'val_energy' (their mean energy), 'val_energy_gap' ('val_energy' minus that of training
            images) and, for 20 or more images, 'val_distance' (kernel distance, KID, of samples to them).
          validation_freq: number of epochs from one validation to the next.
          steps_per_epoch: steps per epoch. None: one pass over the images, without an incomplete last batch;
            a dataset of unknown length is then read once before training, to count its images.

        Returns:
          The Keras `History`: its `history` is {'loss': [mean of each epoch], 'gradient_norm': [..], ..}.

        Raises:
          UserError: an argument has a wrong shape or is out of range.
          DivergenceError: training diverged; the model has its weights from before the call.

        Examples:
          >>> model = drl_tf.EnergyModel.from_preset('digits')
          >>> history = model.fit(model.generate(32), np.arange(32) % 10, batch_size=16, verbose=0)
          >>> model.step
          18002
        """
        data = given_data.given(self._checked, images, labels)
        batch_size = self._fitting.batch_size(batch_size, data)
        epochs = arguments.number('epochs', epochs, 1)
        learning_rate = self._fitting.learning_rate(learning_rate)
        if steps_per_epoch is not None:
            steps_per_epoch = arguments.number('steps_per_epoch', steps_per_epoch, 1)
        ours: list[keras.callbacks.Callback] = []
        if validation_data is not None:
            every = arguments.number('validation_freq', validation_freq, 1)
            held_out = given_data.held_out(self._checked, validation_data)
            seen = given_data.arrays(self._checked, validation.some(data, len(held_out[0])))
            ours.append(validation.Validation(self, held_out, seen, every))
        if callbacks:
            ours.append(validation.PublicCallbacks(callbacks, self))
        options = dict(epochs=epochs, verbose=verbose, callbacks=ours, steps_per_epoch=steps_per_epoch)
        try:
            return self._fitting.fit(data, batch_size, learning_rate, **options)
        finally:
            self.forget_steps()
            self.model.ema_network.converge_u()

    def export(self, directory: str | os.PathLike, max_samples: int | None = None) -> str:
        """Writes averaged weights as a SavedModel, for TensorFlow Serving or `from_preset`; returns its path.

        Args:
          directory: parent of version directories 1, 2, ...; `export` creates the next one.
          max_samples: largest number of images in one request to the server. None: 1,024, or fewer if their
            gradients would need more than 4 GiB.

        Raises:
          UserError: the model cannot be exported, or the directory cannot be written to.

        Examples:
          >>> drl_tf.EnergyModel.from_preset('digits').export('exports/mine')
          'exports/mine/1'
        """
        directory = arguments.path('directory', directory)
        max_samples = 0 if max_samples is None else arguments.number('max_samples', max_samples, 1)
        config = self._trained_config().replace(precision='float32')
        known = {**provenance.NOTHING, **self._fitting.beginning}
        with arguments.named(export_dir='directory'):
            export.check(self.config, directory)
            model = build_model(config)
            for mine, own in zip(model.averages, self.model.averages, strict=True):
                for network in mine:
                    network.set_weights(own[0].get_weights())
            return export.write(model, config, self.step, directory, max_samples, history=known)['SavedModel']

    def _trained_config(self) -> Config:
        """Returns the configuration, with the training options of the run that `fit` continued."""
        return dataclasses.replace(self.config, training=self._fitting.recipe)


register(Config, EnergyModel)


def __getattr__(name: str) -> Any:
    """Finds the former names of `EnergyModel` and of `EnergyModel.from_preset`."""
    if name == 'load':
        return drl_tf.load  # It warns when it is called.
    if name != 'Model':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    deprecated('drl_tf.api.Model', 'drl_tf.EnergyModel')
    return EnergyModel
