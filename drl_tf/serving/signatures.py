"""What a SavedModel answers: its signatures, over the weights of a model. Wrong requests end in an error,
found in the graph."""

import functools
import math
import struct

import tensorflow as tf

from drl_tf.base import pixels
from drl_tf.config.options import GUIDANCE_BOUNDS
from drl_tf.core.diffusion import at
from drl_tf.core.guidance import UNCONDITIONAL, guided, network_labels
from drl_tf.runs import exported


class Export(tf.Module):
    """The signatures over the weights of a float32 model.

    `sample`, `energy` and `denoise`; for models with classes `sample_class` and `energy_class` (the others
    then know no class); `log_likelihood` where log Z is known. Each also with PNG files instead of arrays, as
    `sample_bytes` and so on, but for points.

    Args:
      model: a float32 `RecoveryLikelihood`, built outside any strategy, its u converged.
      max_samples: the largest number of images of one request.
      weights: 'ema' or 'raw'.
      log_z: bounds of log Z_0, (low, high) in nats; None where they are not known.
    """

    def __init__(self, model, max_samples, weights='ema', log_z=None):
        super().__init__()
        self._model_of = lambda: model  # Not an attribute, so that only the weights in use are saved.
        self._max_samples, self._weights, self._log_z = max_samples, weights, log_z
        self._function_of = functools.cache(_on_its_own)
        self.exported_weights = exported.named_weights(model, weights)

    @property
    def _model(self):
        return self._model_of()

    def signatures(self):
        """{name: concrete function}, as `tf.saved_model.save` takes them."""
        image, level, one_seed = (
            self._model.config.image_shape,
            ('level', [None], tf.int32),
            ('seed', [2], tf.int32),
        )
        images, files = ('images', [None, *image], tf.float32), ('images_bytes', [None], tf.string)
        labels, guidance = ('labels', [None], tf.int32), ('guidance', [], tf.float32)
        inputs = {
            self.sample: (one_seed, ('num_samples', [], tf.int32)),
            self.energy: (images, level),
            self.denoise: (images, level, one_seed),
        }
        if self._model.config.data.num_classes:
            inputs |= {
                self.sample_class: (one_seed, labels, guidance),
                self.energy_class: (images, level, labels, guidance),
            }
        if self._log_z:
            inputs[self.log_likelihood] = (images,)
        found = {}
        for function, specs in inputs.items():
            found[function.__name__] = _traced(function, specs)
            if self._model.config.planar:
                continue
            found[f'{function.__name__}_bytes'] = _traced(
                self._with_files(function), [files if spec is images else spec for spec in specs]
            )
        return {'serving_default': found['sample'], **found}

    def _with_files(self, function):
        """A signature that takes and gives PNG files where another has arrays."""

        def answer(**inputs):
            if 'images_bytes' in inputs:
                inputs['images'] = self._entering(function, inputs.pop('images_bytes'), inputs.get('level'))
            outputs = function(**inputs)
            images = outputs.pop('images', None)
            return (
                outputs
                if images is None
                else {**outputs, 'images_bytes': tf.io.encode_png(_grey_levels(images))}
            )

        return answer

    def _entering(self, function, files, level):
        """What a signature takes for clean images x: m_t A_t x for energies, A_0 x for densities; noisy ones
        enter as they are."""
        schedule = self._model.schedule
        with tf.control_dependencies(_within(tf.size(files), 1, self._max_samples, 'the number of images')):
            x = decode_png(tf.identity(files), self._model.config.image_shape)
        if function == self.denoise:
            return x
        if level is None:
            return schedule.A[0].astype('float32') * x
        with tf.control_dependencies(self._about_level(level, x)):
            return at(schedule.m * schedule.A[:-1], tf.identity(level)) * x

    def sample(self, seed, num_samples):
        """seed int32 [2], num_samples int32 [] -> images uint8 [n, H, W, C] (points: float32); image i
        depends on (seed, i) alone."""
        seed, num_samples = _shaped(seed, 2), _shaped(num_samples)
        with tf.control_dependencies(_within(num_samples, 1, self._max_samples, 'num_samples')):
            num_samples = tf.identity(num_samples)
        return self._images(num_samples, seed, UNCONDITIONAL)

    def sample_class(self, seed, labels, guidance):
        """As `sample`, image i of class labels[i] (int32 [n], from 0; -1 is no class), guided by w, float32
        []."""
        seed, labels, guidance = _shaped(seed, 2), _shaped(labels, None), _shaped(guidance)
        with tf.control_dependencies(
            _within(tf.shape(labels)[0], 1, self._max_samples, 'the number of labels')
        ):
            terms = self._guided(labels, guidance)
        return self._images(tf.shape(labels)[0], seed, terms)

    def _guided(self, labels, guidance):
        """Terms of labels int32 [n] from 0 (-1 is no class) and w, once they are found right."""
        checks = [
            *_within(labels, -1, self._model.config.data.num_classes - 1, 'labels'),
            *_within(guidance, *GUIDANCE_BOUNDS, 'guidance'),
        ]
        with tf.control_dependencies(checks):
            return guided(network_labels(labels), guidance)

    def _images(self, num_samples, seed, terms):
        x = self._model.sample(num_samples, seed, weights=self._weights, terms=terms, run=self._apart)[-1]
        x = tf.debugging.assert_all_finite(x, 'the samples are not finite')
        return {'images': x if self._model.config.planar else _grey_levels(x)}

    def _apart(self, function, arguments):
        """Calls a function that stays one in the graph: all levels share it, and a server makes it ready
        once, not once a level."""
        return self._function_of(function)(*arguments)

    def energy(self, images, level):
        """y_t float32 [n, H, W, C], level int32 [n] -> network_output f and energy -F (nats), both float32
        [n].

        A clean image x enters level t as m_t A_t x.
        """
        images, level = self._checked(images, level)
        return self._energies(images, level, UNCONDITIONAL)

    def energy_class(self, images, level, labels, guidance):
        """As `energy`, each image under its class, labels int32 [n] from 0 (-1 is no class), guided by w,
        float32 []."""
        labels, guidance = _shaped(labels, None), _shaped(guidance)
        images, level = self._checked(images, level)
        same = tf.debugging.assert_equal(
            tf.shape(images)[0], tf.shape(labels)[0], 'images and labels must have equal lengths'
        )
        with tf.control_dependencies([same]):
            terms = self._guided(labels, guidance)
        return self._energies(images, level, terms)

    def log_likelihood(self, images):
        """x_0 float32 [n, H, W, C] -> low and high, bounds of log p(x_0) in nats, float32 [n].

        log p(x_0) = F(m_0 x_0, 0) - log Z_0 + D log m_0, D = H W C. A clean image x enters as A_0 x.
        """
        level = tf.zeros([tf.shape(images)[0]], tf.int32)
        images, level = self._checked(images, level)
        schedule, (low, high) = self._model.schedule, self._log_z
        log_m = math.prod(self._model.config.image_shape) * math.log(schedule.m[0])
        log_density = -self._energies(tf.cast(schedule.m[0], tf.float32) * images, level, UNCONDITIONAL)[
            'energy'
        ]
        return {'low': log_density - high + log_m, 'high': log_density - low + log_m}

    def _energies(self, images, level, terms):
        log_density = self._model.density_at(level, self._weights, terms)(images)
        variance = tf.gather(tf.constant(1 / self._model.precision, tf.float32), level)
        log_density = tf.debugging.assert_all_finite(
            log_density, 'the energy is not finite: images must be smaller'
        )
        return {'network_output': log_density * variance, 'energy': -log_density}

    def denoise(self, images, level, seed):
        """x_{t+1} float32 [n, H, W, C], level int32 [n], seed int32 [2] -> images, x_t after K Langevin
        steps."""
        images, level = self._checked(images, level)
        x = self._apart(
            self._model.denoise, (images, level, _shaped(seed, 2), 0, self._weights, UNCONDITIONAL)
        )
        return {
            'images': tf.debugging.assert_all_finite(
                x, 'the images are not finite: those of the request must be smaller'
            )
        }

    def _checked(self, images, level):
        """The inputs, once they are found right."""
        images, level = _shaped(images, None, *self._model.config.image_shape), _shaped(level, None)
        checks = [
            *self._about_level(level, images),
            *_within(tf.shape(images)[0], 1, self._max_samples, 'the number of images'),
            tf.debugging.assert_all_finite(images, 'images must be finite'),
        ]
        with tf.control_dependencies(checks):
            return tf.identity(images), tf.identity(level)

    def _about_level(self, level, images):
        """Checks in the graph that there is a level for each image."""
        return [
            tf.debugging.assert_equal(
                tf.shape(images)[0], tf.shape(level)[0], 'images and level must have equal lengths'
            ),
            *_within(level, 0, self._model.schedule.num_levels - 1, 'level'),
        ]


def _on_its_own(function):
    """A `tf.function` again, but one that is not copied into its callers when a graph is made ready to
    run."""
    return tf.function(function.python_function, autograph=False, experimental_attributes={'_noinline': True})


def _traced(function, specs):
    """The concrete function of inputs that are (name, shape, type)."""
    inputs = {name: tf.TensorSpec(shape, dtype, name) for name, shape, dtype in specs}
    return tf.function(function, autograph=False).get_concrete_function(**inputs)


def decode_png(files, image_shape):
    """PNG files as images in [-1, 1]; grey and colour become what the model has, transparency is dropped.

    Args:
      files: string [n].
      image_shape: (H, W, C) that they must have; no file of another size is decoded.

    Returns:
      float32 [n, H, W, C].

    Raises:
      tf.errors.InvalidArgumentError: a file is no PNG, damaged, or of another size.
    """
    height, width, channels = image_shape
    begin = b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + struct.pack('>II', width, height)
    files = _shaped(files, None)
    begins = tf.reduce_all(tf.equal(tf.strings.substr(files, 0, len(begin)), begin))
    right = tf.debugging.Assert(begins, [f'images_bytes must be PNG files of {width} x {height} pixels'])
    with tf.control_dependencies([right]):
        files = tf.identity(files)
    spec = tf.TensorSpec([None, None, channels], tf.uint8)
    grey_levels = tf.map_fn(lambda file: tf.io.decode_png(file, channels), files, fn_output_signature=spec)
    return _shaped(pixels.from_levels(tf.cast(grey_levels, tf.float32)), None, *image_shape)


def _grey_levels(images):
    """uint8 of images in [-1, 1] (values outside are clipped); those that are uint8 stay as they are."""
    if images.dtype == tf.uint8:
        return images
    return tf.cast(tf.clip_by_value(tf.round((images + 1) * pixels.HALF), 0, 255), tf.uint8)


def _shaped(value, *shape):
    """The value, found in the graph to be of a shape: loaders do not hold requests against the shapes of a
    signature."""
    return tf.ensure_shape(value, shape)


def _within(value, low, high, name):
    """Checks in the graph that a tensor lies within bounds; NaN does not."""
    limits = f'{name} must be from {low} to {high}'
    low, high = tf.cast(low, value.dtype), tf.cast(high, value.dtype)
    return tf.debugging.assert_greater_equal(value, low, limits), tf.debugging.assert_less_equal(
        value, high, limits
    )
