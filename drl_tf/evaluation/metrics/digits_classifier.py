"""A small classifier of handwritten digits; its features replace those of Inception.

`python -m drl_tf.evaluation.metrics.digits_classifier` trains it again in 3 minutes on 2 CPU cores, writes
the weights beside this file and prints the accuracy on the held-out digits: 98.9 % at 32 px, 98.7 % at 16 px,
95.8 % at 8 px. The seed is fixed: machines of one kind get the same weights.
"""

import functools
import hashlib
import os
import zipfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from drl_tf.base import pixels
from drl_tf.base.errors import UserError
from drl_tf.data import digits
from drl_tf.data.tuning import untuned

IMAGE_SIZE = 32
NUM_FEATURES = 64
NUM_CLASSES = 10
RESIZE = 'bilinear, antialiased'
WEIGHTS = os.path.join(os.path.dirname(__file__), 'digits_classifier.npz')


def _build() -> keras.Model:
    """Builds the untrained network, [N, 32, 32, 1] in [-1, 1] to {'features': [N, 64], 'logits': [N, 10]}."""
    x = image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    for channels, kernel_size, strides in ((32, 5, 2), (64, 3, 1), (64, 3, 2), (64, 3, 1), (64, 3, 2)):
        x = keras.layers.Conv2D(channels, kernel_size, strides, padding='same', use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Activation('silu')(x)
    x = keras.layers.Dropout(0.3)(keras.layers.Flatten()(x))
    features = keras.layers.Dense(NUM_FEATURES, activation='silu')(x)
    logits = keras.layers.Dense(NUM_CLASSES)(features)
    return keras.Model(image, {'features': features, 'logits': logits})


@functools.cache
def load(path: str = WEIGHTS) -> keras.Model:
    """Loads the trained classifier of digits.

    Its input is images, float32 [N, 32, 32, 1] in [-1, 1]. Its output is a dict: 'features', float32 [N, 64],
    and 'logits' of the ten digits, float32 [N, 10].

    Args:
      path: the file of weights; by default, the one in the package.

    Raises:
      UserError: the file of weights is missing, damaged, or of another network.
    """
    model = _build()
    try:
        with np.load(path, allow_pickle=False) as file:
            model.set_weights([file[f'arr_{index}'] for index in range(len(model.weights))])
    except (OSError, ValueError, EOFError, LookupError, RuntimeError, zipfile.BadZipFile) as error:
        raise UserError(
            f'{path} does not hold the weights of the digits classifier ({error}): reinstall the package'
        ) from error
    return model


def weights_hash(path: str = WEIGHTS) -> str:
    """Returns the first 12 hexadecimal digits of the SHA-256 of the classifier's file of weights.

    Args:
      path: the file; by default, the one in the package.
    """
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()[:12]


def features(images: Any) -> np.ndarray:
    """Computes features of images: the activations of the classifier's last hidden layer.

    Args:
      images: square grey images, uint8 [N, H, H, 1]; they are resized to 32 px.

    Returns:
      float32 [N, 64].

    Raises:
      UserError: the images have another type or shape, or the weights cannot be loaded.
    """
    return _outputs(images)['features']


def predict(images: Any) -> np.ndarray:
    """Computes the probabilities of the ten digits, float32 [N, 10], for images uint8 [N, H, H, 1]."""
    return tf.nn.softmax(_outputs(images)['logits']).numpy()


def _outputs(images: Any) -> dict[str, np.ndarray]:
    batches = tf.data.Dataset.from_tensor_slices(preprocess(images)).batch(250)
    return load().predict(untuned(batches), verbose=0)


def preprocess(images: Any) -> tf.Tensor:
    """Converts images, uint8 [N, H, H, 1], to the classifier's input, float32 [N, 32, 32, 1] in [-1, 1]."""
    images = tf.convert_to_tensor(images)
    shape = images.shape
    if images.dtype != tf.uint8 or len(shape) != 4 or not shape[0] or shape[1] != shape[2] or shape[3] != 1:
        given = f'{images.dtype.name} {list(shape)}'
        raise UserError(f'the digits classifier takes grey uint8 images [N, H, H, 1], not {given}')
    return _resize(pixels.from_levels(tf.cast(images, tf.float32)))


def _resize(images: tf.Tensor) -> tf.Tensor:
    return tf.image.resize(images, [IMAGE_SIZE, IMAGE_SIZE], 'bilinear', antialias=True)


def shrink(images: tf.Tensor, factor: int) -> tf.Tensor:
    """Shrinks images by averaging blocks of pixels.

    Args:
      images: uint8 or float [N, H, W, C].
      factor: height and width of a block in pixels.

    Returns:
      float32 [N, H / factor, W / factor, C], rounded down; pixels beyond the last whole block are left out.
    """
    return tf.nn.avg_pool2d(tf.cast(images, tf.float32), factor, factor, 'VALID')


class RandomResolution(keras.layers.Layer):
    """Keras layer that reduces the detail of random images, in training only.

    Its input is images of 32 px. Each image is shrunk to 16 px with probability 1/4, or to 8 px with
    probability 1/4, and then enlarged to 32 px again. All other images stay as they are.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = keras.random.SeedGenerator()

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return images
        half, quarter = (_resize(shrink(images, factor)) for factor in (2, 4))
        chance = keras.random.uniform([tf.shape(images)[0], 1, 1, 1], seed=self.seed)
        return tf.where(chance < 0.5, images, tf.where(chance < 0.75, half, quarter))


def augmentation() -> keras.Sequential:
    """Returns a Keras network that augments images, float32 [N, 32, 32, 1] in [-1, 1], in training only.

    It shears, rotates, zooms and shifts each image at random, and lowers the resolution of some.
    """
    black = dict(fill_mode='constant', fill_value=-1.0)
    layers = [
        keras.layers.RandomShear(0.2, **black),
        keras.layers.RandomRotation(0.04, **black),
        keras.layers.RandomZoom(0.12, 0.12, **black),
        keras.layers.RandomTranslation(0.08, 0.08, **black),
        RandomResolution(),
    ]
    return keras.Sequential(layers)


def train(images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int = 100) -> keras.Model:
    """Trains the classifier of digits with augmentation, label smoothing and a cosine schedule.

    Args:
      images: square grey images, uint8 [N, H, H, 1].
      labels: the digits, 0 to 9, int [N].
      epochs: passes over the images.
      batch_size: images per step.

    Returns:
      The trained network.

    Raises:
      UserError: the images have another type or shape.
    """
    model = _build()
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    trainer = keras.Model(image, model(augmentation()(image))['logits'])
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * len(images) // batch_size)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.01)
    trainer.compile(optimizer, loss, metrics=['accuracy'], jit_compile=False)
    targets = keras.utils.to_categorical(labels, NUM_CLASSES)
    trainer.fit(preprocess(images), targets, batch_size, epochs, verbose=2)
    return model


def main() -> None:
    """Trains the classifier, writes its weights to `WEIGHTS`, and prints its accuracy on held-out digits.

    `WEIGHTS` is the file in the package that `load` reads.
    """
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    model = train(*digits.load('train'), epochs=80)
    np.savez(WEIGHTS, *model.get_weights())
    images, labels = digits.load('test')
    for factor in (1, 2, 4):
        smaller = tf.cast(tf.round(shrink(images, factor)), tf.uint8)
        accuracy = np.mean(predict(smaller).argmax(axis=1) == labels)
        print(f'{smaller.shape[1]} px: {accuracy:.1%} of {len(labels)} held-out digits are recognised')


if __name__ == '__main__':
    main()
