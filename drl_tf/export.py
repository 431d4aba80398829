"""SavedModels that TensorFlow Serving and any TensorFlow process can load without this package."""

import json
import os
import shutil

import tensorflow as tf

from drl_tf import __version__, checkpoint
from drl_tf.config import GUIDANCE_BOUNDS
from drl_tf.errors import UserError
from drl_tf.model import UNCONDITIONAL, guided

_GREY_HALF = 127.5


class Export(tf.Module):
    """The signatures `sample`, `energy` and `denoise` over the weights of a float32 model.

    For models with classes also `sample_class` and `energy_class`; the others then know no class.

    Args:
      model: a float32 `RecoveryLikelihood`, built outside any strategy, its u converged.
      max_samples: the largest number of images of one request.
      weights: 'ema' or 'raw'.
    """

    def __init__(self, model, max_samples, weights='ema'):
        super().__init__()
        self._model_of = lambda: model  # Not an attribute, so that only the weights in use are saved.
        self._max_samples, self._weights = max_samples, weights
        networks = [average if weights == 'ema' else raw for average, raw in model.averages]
        self.exported_weights = [weight.value for network in networks for weight in network.weights]

    @property
    def _model(self):
        return self._model_of()

    def signatures(self):
        """{name: concrete function}, as `tf.saved_model.save` takes them."""
        images = tf.TensorSpec([None, *self._model.config.image_shape], tf.float32, 'images')
        level = tf.TensorSpec([None], tf.int32, 'level')
        seed = tf.TensorSpec([2], tf.int32, 'seed')
        sample = self.sample.get_concrete_function(seed, tf.TensorSpec([], tf.int32, 'num_samples'))
        by_class = {}
        if self._model.config.data.num_classes:
            labels = tf.TensorSpec([None], tf.int32, 'labels')
            guidance = tf.TensorSpec([], tf.float32, 'guidance')
            by_class = {
                'sample_class': self.sample_class.get_concrete_function(seed, labels, guidance),
                'energy_class': self.energy_class.get_concrete_function(images, level, labels, guidance),
            }
        return {
            **by_class,
            'serving_default': sample,
            'sample': sample,
            'energy': self.energy.get_concrete_function(images, level),
            'denoise': self.denoise.get_concrete_function(images, level, seed),
        }

    @tf.function
    def sample(self, seed, num_samples):
        """seed int32 [2], num_samples int32 [] -> images uint8 [n, H, W, C]; image i depends on (seed, i) alone."""
        seed, num_samples = _shaped(seed, 2), _shaped(num_samples)
        with tf.control_dependencies(_within(num_samples, 1, self._max_samples, 'num_samples')):
            num_samples = tf.identity(num_samples)
        return self._images(num_samples, seed, UNCONDITIONAL)

    @tf.function
    def sample_class(self, seed, labels, guidance):
        """As `sample`, image i of class labels[i] (int32 [n], from 0; -1 is no class), guided by w, float32 []."""
        seed, labels, guidance = _shaped(seed, 2), _shaped(labels, None), _shaped(guidance)
        with tf.control_dependencies(_within(tf.shape(labels)[0], 1, self._max_samples, 'the number of labels')):
            terms = self._guided(labels, guidance)
        return self._images(tf.shape(labels)[0], seed, terms)

    def _guided(self, labels, guidance):
        """Terms of labels int32 [n] from 0 (-1 is no class) and w, once they are found right."""
        checks = [
            *_within(labels, -1, self._model.config.data.num_classes - 1, 'labels'),
            *_within(guidance, *GUIDANCE_BOUNDS, 'guidance'),
        ]
        with tf.control_dependencies(checks):
            return guided(labels + 1, guidance)

    def _images(self, num_samples, seed, terms):
        x = self._model.sample(num_samples, seed, weights=self._weights, terms=terms)[-1]
        x = tf.debugging.assert_all_finite(x, 'the samples are not finite')
        grey = tf.clip_by_value(tf.round((x + 1) * _GREY_HALF), 0, 255)
        return {'images': tf.cast(grey, tf.uint8)}

    @tf.function
    def energy(self, images, level):
        """y_t float32 [n, H, W, C], level int32 [n] -> network_output f and energy -F (nats), both float32 [n].

        A clean image x enters level 0 as m_0 A_0 x.
        """
        images, level = self._checked(images, level)
        return self._energies(images, level, UNCONDITIONAL)

    @tf.function
    def energy_class(self, images, level, labels, guidance):
        """As `energy`, each image under its class, labels int32 [n] from 0 (-1 is no class), guided by w, float32 []."""
        labels, guidance = _shaped(labels, None), _shaped(guidance)
        images, level = self._checked(images, level)
        same = tf.debugging.assert_equal(tf.shape(images)[0], tf.shape(labels)[0], 'images and labels must have equal lengths')
        with tf.control_dependencies([same]):
            terms = self._guided(labels, guidance)
        return self._energies(images, level, terms)

    def _energies(self, images, level, terms):
        log_density = self._model.density_at(level, self._weights, terms)(images)
        variance = tf.gather(tf.constant(self._model.schedule.delta**2, tf.float32), level)
        log_density = tf.debugging.assert_all_finite(log_density, 'the energy is not finite: images must be smaller')
        return {'network_output': log_density * variance, 'energy': -log_density}

    @tf.function
    def denoise(self, images, level, seed):
        """x_{t+1} float32 [n, H, W, C], level int32 [n], seed int32 [2] -> images, x_t after K Langevin steps."""
        images, level = self._checked(images, level)
        x = self._model.denoise(images, level, _shaped(seed, 2), weights=self._weights)
        return {'images': tf.debugging.assert_all_finite(x, 'the images are not finite: those of the request must be smaller')}

    def _checked(self, images, level):
        """The inputs, once they are found right."""
        images, level = _shaped(images, None, *self._model.config.image_shape), _shaped(level, None)
        checks = [
            tf.debugging.assert_equal(tf.shape(images)[0], tf.shape(level)[0], 'images and level must have equal lengths'),
            *_within(tf.shape(images)[0], 1, self._max_samples, 'the number of images'),
            *_within(level, 0, self._model.schedule.num_levels - 1, 'level'),
            tf.debugging.assert_all_finite(images, 'images must be finite'),
        ]
        with tf.control_dependencies(checks):
            return tf.identity(images), tf.identity(level)


def _shaped(value, *shape):
    """The value, found in the graph to be of a shape: loaders do not hold requests against the shapes of a signature."""
    return tf.ensure_shape(value, shape)


def _within(value, low, high, name):
    """Checks in the graph that a tensor lies within bounds; NaN does not."""
    limits = f'{name} must be from {low} to {high}'
    low, high = tf.cast(low, value.dtype), tf.cast(high, value.dtype)
    return tf.debugging.assert_greater_equal(value, low, limits), tf.debugging.assert_less_equal(value, high, limits)


def export(config, workdir, directory, max_samples, weights='ema', step=None):
    """Writes the next version of a SavedModel, aside and renamed.

    Args:
      config: a `Config`; its K and noise scale are those of the signatures.
      workdir: the directory of the run.
      directory: parent of the integer version folders.
      max_samples: the largest `num_samples` of one request.
      weights: 'ema' or 'raw'.
      step: which checkpoint; the newest where None.

    Returns:
      Where things are, as {label: text}.

    Raises:
      UserError: there is no sound checkpoint, or `directory` is a file.
    """
    if config.network.norm == 'batch':
        raise UserError('--norm=batch cannot be exported: an image would depend on the others of its request')
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise UserError(f'--export_dir={directory} is a file: give a directory')
    model, step = checkpoint.load_model(workdir, config.replace(precision='float32'), step)
    os.makedirs(directory, exist_ok=True)
    versions = [int(name) for name in os.listdir(directory) if name.isdigit()]
    final = os.path.join(directory, str(max(versions, default=0) + 1))
    aside = os.path.join(directory, 'writing')
    shutil.rmtree(aside, ignore_errors=True)
    module = Export(model, max_samples, weights)
    tf.saved_model.save(module, aside, signatures=module.signatures())
    _describe(aside, config, step, weights, max_samples)
    os.replace(aside, final)
    return {'SavedModel': final}


def _describe(path, config, step, weights, max_samples):
    """Notes in `assets.extra/` what was exported."""
    os.makedirs(os.path.join(path, 'assets.extra'))
    description = {
        'drl_tf': __version__,
        'dataset': config.data.dataset,
        'image_shape': config.image_shape,
        'num_levels': config.diffusion.num_levels,
        'num_classes': config.data.num_classes,
        'mcmc_steps': config.diffusion.mcmc_steps,
        'noise_scale': config.sampling.noise_scale,
        'step_scale': config.sampling.step_scale,
        'final_denoise': config.diffusion.final_denoise,
        'max_samples': max_samples,
        'weights': weights,
        'checkpoint_step': step,
    }
    with open(os.path.join(path, 'assets.extra', 'drl_tf.json'), 'w', encoding='utf-8') as file:
        json.dump(description, file, indent=2)
