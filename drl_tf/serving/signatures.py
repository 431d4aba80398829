"""The signatures of an exported model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from drl_tf.config.sampling_options import GUIDANCE_BOUNDS
from drl_tf.core import pilot
from drl_tf.core.diffusion import at
from drl_tf.core.guidance import UNCONDITIONAL, Terms, guided, network_labels
from drl_tf.core.sampling import Draw
from drl_tf.core.weights import Weights
from drl_tf.runs import exported
from drl_tf.runs.heights import Heights
from drl_tf.serving import changes
from drl_tf.serving.requests import Spec, decode_png, grey_levels, shaped, traced, within
from drl_tf.serving.score import score_outputs

if TYPE_CHECKING:
    from drl_tf.core.energy_model import EnergyModel

_Outputs = dict[str, tf.Tensor]


class Export(tf.Module):
    """The `tf.Module` to save as a SavedModel: signatures, and the weights that they use.

    All models have `sample`, `energy`, `denoise`, `score`; models with classes also `sample_class` and
    `energy_class`; models with known log Z `log_likelihood`. Models of images, not of points of the plane,
    have `inpaint`, `interpolate`, and for each signature NAME a twin NAME_bytes, whose images are PNG files.

    Args:
      model: a float32 model, built outside any `tf.distribute` strategy. First call
        `model.ema_network.converge_u()`, so that the spectral normalisation fits the averaged weights.
      max_samples: the largest number of images in a request.
      weights: 'ema' (averages) or 'raw'.
      log_z: bounds of log Z at level 0, (low, high) in nats, for `log_likelihood`; None if unknown.
      heights: log Z of all levels, with the mean and standard deviation of log p over training images, as
        JSON files store them: {attribute of `runs.heights.Heights`: value}. None if unknown; `score` then
        answers energies, gradients and maps, but neither 'log_prob' nor 'typicality'.

    Example:
      module = Export(model, max_samples=64)
      tf.saved_model.save(module, directory, signatures=module.signatures())
    """

    def __init__(
        self,
        model: EnergyModel,
        max_samples: int,
        weights: Weights = Weights.EMA,
        log_z: Sequence[float] | None = None,
        heights: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self._model_of = lambda: model  # Not an attribute, so that only the weights in use are saved.
        self._max_samples = max_samples
        self._weights = weights
        self._log_z = log_z
        self._heights = None if heights is None else Heights.known(heights)
        self.corrector_steps = pilot.as_list(pilot.steps(model, weights))
        self._denoising_steps = self.corrector_steps
        if model.walk is not model.schedule:
            self._denoising_steps = pilot.as_list(pilot.steps(model, weights, model.schedule))
        self.exported_weights = exported.named_weights(model, weights)

    @property
    def _model(self) -> EnergyModel:
        return self._model_of()

    def signatures(self) -> dict[str, Any]:
        """Returns {name: concrete function} for `tf.saved_model.save`; the class lists the names."""
        config = self._model.config
        seed: Spec = ('seed', [2], tf.int32)
        num_samples: Spec = ('num_samples', [], tf.int32)
        images: Spec = ('images', [None, *config.image_shape], tf.float32)
        files: Spec = ('images_bytes', [None], tf.string)
        level: Spec = ('level', [None], tf.int32)
        labels: Spec = ('labels', [None], tf.int32)
        guidance: Spec = ('guidance', [], tf.float32)
        inputs: dict[Callable[..., _Outputs], tuple[Spec, ...]] = {
            self.sample: (seed, num_samples),
            self.energy: (images, level),
            self.denoise: (images, level, seed),
            self.score: (images,),
        }
        if config.data.num_classes:
            inputs[self.sample_class] = (seed, labels, guidance)
            inputs[self.energy_class] = (images, level, labels, guidance)
        if not config.planar:
            missing: Spec = ('missing', [None, *config.image_shape[:2], 1], tf.bool)
            between: Spec = ('between', [2], tf.int32)
            inputs[self.inpaint] = (images, missing, seed)
            inputs[self.interpolate] = (seed, between, ('position', [None], tf.float32))
        if self._log_z:
            inputs[self.log_likelihood] = (images,)
        found = {}
        for function, specs in inputs.items():
            of_arrays = found[function.__name__] = traced(function, specs)
            if not config.planar:
                given = [files if spec is images else spec for spec in specs]
                found[f'{function.__name__}_bytes'] = traced(self._with_files(function, of_arrays), given)
        return {'serving_default': found['sample'], **found}

    def _with_files(self, function: Callable[..., _Outputs], of_arrays: Any) -> Callable[..., _Outputs]:
        """Converts a signature for arrays, and its concrete function, to a signature for PNG files."""

        def answer(**inputs: tf.Tensor) -> _Outputs:
            if 'images_bytes' in inputs:
                inputs['images'] = self._from_png(function, inputs.pop('images_bytes'), inputs.get('level'))
            outputs = dict(of_arrays(**inputs))
            images = outputs.pop('images', None)
            if images is not None:
                outputs['images_bytes'] = tf.io.encode_png(grey_levels(images))
            return outputs

        return answer

    def _from_png(
        self, function: Callable[..., _Outputs], files: tf.Tensor, level: tf.Tensor | None
    ) -> tf.Tensor:
        """Decodes PNG files to images x; returns x, A_0 x or m_t A_t x, whichever `function` takes."""
        schedule = self._model.schedule
        with tf.control_dependencies(within(tf.size(files), 1, self._max_samples, 'the number of images')):
            x = decode_png(tf.identity(files), self._model.config.image_shape)
        if function in (self.denoise, self.inpaint, self.score):
            return x
        if level is None:
            return schedule.A[0].astype('float32') * x
        with tf.control_dependencies(self._level_checks(level, x)):
            return at(schedule.m * schedule.A[:-1], tf.identity(level)) * x

    def sample(self, seed: tf.Tensor, num_samples: tf.Tensor) -> _Outputs:
        """Draws n = `num_samples` images, {'images': uint8 [n, H, W, C]}; toy data: float32 [n, 1, 1, 2].

        `seed` is any two integers, int32 [2]. Image i depends on (seed, i) only.
        """
        seed = shaped(seed, 2)
        num_samples = shaped(num_samples)
        with tf.control_dependencies(within(num_samples, 1, self._max_samples, 'num_samples')):
            num_samples = tf.identity(num_samples)
        return self._images(num_samples, seed, UNCONDITIONAL)

    def sample_class(self, seed: tf.Tensor, labels: tf.Tensor, guidance: tf.Tensor) -> _Outputs:
        """Draws images of given classes, {'images': uint8 [n, H, W, C]}.

        Args:
          seed: any two integers, int32 [2]; image i depends on (seed, i) and its class.
          labels: class of each image, from 0, int32 [n]; -1 means no class.
          guidance: weight of classifier-free guidance, -1 to 20, float32 []; 0: no guidance.
        """
        seed = shaped(seed, 2)
        labels = shaped(labels, None)
        guidance = shaped(guidance)
        num_samples = tf.shape(labels)[0]
        with tf.control_dependencies(within(num_samples, 1, self._max_samples, 'the number of labels')):
            terms = self._guided(labels, guidance)
        return self._images(num_samples, seed, terms)

    def _guided(self, labels: tf.Tensor, guidance: tf.Tensor) -> Terms:
        """Checks classes, int32 [n] (-1 is no class), and the guidance w; returns (labels, weight) pairs."""
        checks = [
            *within(labels, -1, self._model.config.data.num_classes - 1, 'labels'),
            *within(guidance, *GUIDANCE_BOUNDS, 'guidance'),
        ]
        with tf.control_dependencies(checks):
            return guided(network_labels(labels), guidance)

    def _images(self, num_samples: tf.Tensor, seed: tf.Tensor, terms: Any) -> _Outputs:
        draw = Draw(0, self._weights, terms, pilot.as_tensor(self.corrector_steps))
        # In one part, because a server optimises the graph of each part separately.
        states = self._model.sample(num_samples, seed, draw, most_parts=1)
        x = tf.debugging.assert_all_finite(states[-1], 'the samples are not finite')
        return {'images': x if self._model.config.planar else grey_levels(x)}

    def energy(self, images: tf.Tensor, level: tf.Tensor) -> _Outputs:
        """Returns {'energy': -F, 'network_output': F / `model.precision[t]`}, float32 [n] each.

        F, the network output times `model.precision[t]`, is the log density of y_t in nats, up to a constant
        of level t. `images` are y_t, float32 [n, H, W, C]. `level` is t of each image, from 0, int32 [n].
        y_t is m_t x_t for a noisy image x_t, m_t A_t x for a clean x in [-1, 1] (m, A: `model.schedule`).
        """
        images, level = self._checked(images, level)
        return self._energies(images, level, UNCONDITIONAL)

    def energy_class(
        self, images: tf.Tensor, level: tf.Tensor, labels: tf.Tensor, guidance: tf.Tensor
    ) -> _Outputs:
        """Returns {'energy': -F, 'network_output': F divided by a constant of level t}, float32 [n] each.

        F is (1 + w) F(c) - w F(no class). F(c) is the log density of images of class c, up to a constant.

        Args:
          images: y_t, scaled noisy images as in `energy`, float32 [n, H, W, C].
          level: noise level t of each image, from 0, int32 [n].
          labels: class of each image, from 0, int32 [n]; -1 means no class.
          guidance: w, -1 to 20, float32 [].
        """
        labels = shaped(labels, None)
        guidance = shaped(guidance)
        images, level = self._checked(images, level)
        same = tf.debugging.assert_equal(
            tf.shape(images)[0], tf.shape(labels)[0], 'images and labels must have equal lengths'
        )
        with tf.control_dependencies([same]):
            terms = self._guided(labels, guidance)
        return self._energies(images, level, terms)

    def log_likelihood(self, images: tf.Tensor) -> _Outputs:
        """Bounds log densities at noise level 0; returns {'low': .., 'high': ..} in nats, float32 [n] each.

        `images` are float32 [n, H, W, C]. Multiply clean images in [-1, 1] by `model.schedule.A[0]` first.
        """
        level = tf.zeros([tf.shape(images)[0]], tf.int32)
        images, level = self._checked(images, level)
        assert self._log_z, '`signatures` offers this one only if log Z is known'
        low, high = self._log_z
        m = self._model.schedule.m[0]
        log_m = math.prod(self._model.config.image_shape) * math.log(m)
        energy = self._energies(tf.cast(m, tf.float32) * images, level, UNCONDITIONAL)['energy']
        log_density = -energy
        return {'low': log_density - high + log_m, 'high': log_density - low + log_m}

    def score(self, images: tf.Tensor) -> _Outputs:
        """Scores clean images, float32 [n, H, W, C] in [-1, 1], at L noise levels; returns a dict of tensors.

        'energy' [n, L] is in nats. 'gradient' [n, L] is how far denoising would move the image, in units of
        the noise; 'maps' [n, L, H, W] is the same for each pixel. If `Export` got `heights`: 'log_prob'
        [n, L], nats; 'typicality' [n], distance of log p from its training mean, in standard deviations.
        """
        images, _ = self._checked(images, tf.zeros([tf.shape(images)[0]], tf.int32))
        return score_outputs(self._model, self._weights, self._heights, images)

    def _energies(self, images: tf.Tensor, level: tf.Tensor, terms: Any) -> _Outputs:
        log_density = self._model.density_at(level, self._weights, terms)(images)
        variance = tf.gather(tf.constant(1 / self._model.precision, tf.float32), level)
        log_density = tf.debugging.assert_all_finite(
            log_density, 'the energy is not finite: images must be smaller'
        )
        return {'network_output': log_density * variance, 'energy': -log_density}

    def denoise(self, images: tf.Tensor, level: tf.Tensor, seed: tf.Tensor) -> _Outputs:
        """Removes the noise of one level: draws {'images': x_t, float32 [n, H, W, C]} given `images` x_{t+1}.

        `level` is the level t of each result, from 0, int32 [n]. `seed` is any two integers, int32 [2].
        """
        images, level = self._checked(images, level)
        draw = Draw(weights=self._weights, corrector_steps=pilot.as_tensor(self._denoising_steps))
        x = self._model.denoise(images, level, shaped(seed, 2), draw)
        message = 'the images are not finite: those of the request must be smaller'
        return {'images': tf.debugging.assert_all_finite(x, message)}

    def inpaint(self, images: tf.Tensor, missing: tf.Tensor, seed: tf.Tensor) -> _Outputs:
        """Fills in missing pixels; returns {'images': float32 [n, H, W, C] in [-1, 1]}.

        `images` are clean, float32 [n, H, W, C]; their missing pixels are ignored. `missing` is True for
        missing pixels, bool [n, H, W, 1]. `seed` is any two integers, int32 [2].
        """
        checks = within(tf.shape(images)[0], 1, self._max_samples, 'the number of images')
        q = pilot.as_tensor(self.corrector_steps)
        with tf.control_dependencies(checks):
            return changes.inpaint(self._model, images, missing, seed, self._weights, q)

    def interpolate(self, seed: tf.Tensor, between: tf.Tensor, position: tf.Tensor) -> _Outputs:
        """Draws n images between two samples; returns {'images': uint8 [n, H, W, C]}.

        `seed` is any two integers, int32 [2]. `between` holds the indices of two images that `sample` draws
        with it, int32 [2]. `position` is the place of each result, float32 [n]: 0 is the first, 1 the second.
        """
        checks = within(tf.size(position), 1, self._max_samples, 'the number of positions')
        q = pilot.as_tensor(self.corrector_steps)
        with tf.control_dependencies(checks):
            return changes.interpolate(self._model, seed, between, position, self._weights, q)

    def _checked(self, images: tf.Tensor, level: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = shaped(images, None, *self._model.config.image_shape)
        level = shaped(level, None)
        checks = [
            *self._level_checks(level, images),
            *within(tf.shape(images)[0], 1, self._max_samples, 'the number of images'),
            tf.debugging.assert_all_finite(images, 'images must be finite'),
        ]
        with tf.control_dependencies(checks):
            return tf.identity(images), tf.identity(level)

    def _level_checks(self, level: tf.Tensor, images: tf.Tensor) -> list[tf.Operation]:
        return [
            tf.debugging.assert_equal(
                tf.shape(images)[0], tf.shape(level)[0], 'images and level must have equal lengths'
            ),
            *within(level, 0, self._model.schedule.num_levels - 1, 'level'),
        ]
