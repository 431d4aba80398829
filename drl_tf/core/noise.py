"""Random draws that depend only on a seed, folded by purpose and step, and on the index of the image.

Image i gets the same noise in batches of any size and on any number of replicas: the counter-based Philox
generator starts at the counter of image i. Functions that are compiled with XLA draw other numbers than
functions that are not.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import tensorflow as tf

# A seed, int32 [2].
Seed: TypeAlias = tf.Tensor | list[int]
# The users of randomness in a run, for `root`; then the purposes within one user, for `fold`.
TRAINING, MIRRORING, DATA_ORDER, SAMPLING, LIKELIHOOD, LONG_RUN, PILOT, HELD_OUT, REPORT, SCORING = range(10)
FORWARD, LEVEL, LANGEVIN, PRIOR, DROPOUT, START, LABEL, ACCEPTANCE, LENGTH, CONTRAST = range(10)
RESAMPLING, REPLACEMENT, BOOTSTRAP, OTHER_SET, RECOVERY, OFF_DATA, ANNEALING, WAY_BACK = range(10, 18)
_PHILOX = 1
_NUMBERS_PER_COUNT = 4


def root(seed: int, user: int) -> list[int]:
    """Derives the seed of one kind of computation, such as sampling, from the seed of the run.

    Args:
      seed: the seed of the run, an int.
      user: the kind of computation, a constant of this module such as `TRAINING` or `SAMPLING`.

    Returns:
      The seed, two ints. Pass it to `fold`, `normal` and the other functions of this module.

    Examples:
      >>> root(0, SAMPLING)
      [0, 3]
    """
    return [seed, user]


def fold(seed: Seed, *numbers: int | tf.Tensor) -> Seed:
    """Derives a new seed from a seed and integers such as purpose, step and level.

    Args:
      seed: random seed, int32 [2].
      *numbers: integers. Other integers, or the same in another order, give an independent seed.

    Returns:
      The new seed, int32 [2].

    Examples:
      >>> fold(root(0, SAMPLING), LANGEVIN, 7).shape
      TensorShape([2])
    """
    for number in numbers:
        seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int32))
    return seed


class Between(NamedTuple):
    """Noises between the noises of two images, to interpolate between their samples.

    Pass it to `noise.normal` as `first`. Row i of the result is then cosine_i z_begin + sine_i z_end, where
    z_begin and z_end are the noises of the images with the indices `begin` and `end`. Each row is standard
    normal if cosine_i^2 + sine_i^2 = 1 and the images differ.

    Attributes:
      begin: index of the first of the two images, int32 [].
      end: index of the second of the two images, int32 [].
      cosine: weight of z_begin in each row, float32 [n].
      sine: weight of z_end in each row, float32 [n].

    Examples:
      >>> Between(3, 8, cosine=tf.ones([1]), sine=tf.zeros([1])).end
      8
    """

    begin: int | tf.Tensor
    end: int | tf.Tensor
    cosine: tf.Tensor
    sine: tf.Tensor


def between(begin: int | tf.Tensor, end: int | tf.Tensor, position: tf.Tensor) -> Between:
    """Returns a `Between`, with which `noise.normal` draws n noises between those of two images.

    Pass it as `first`. The noises lie on the quarter circle from the noise of image `begin` to that of `end`.
    If these are one image, all n noises are that of the image.

    Args:
      begin: index of the image at position 0, an int or int32 [].
      end: index of the image at position 1, an int or int32 [].
      position: n positions in [0, 1], float32 [n]. 0 and 1 give exactly the noises of the two images.

    Examples:
      >>> ends = between(3, 8, tf.constant([0.0, 1.0]))
      >>> z = normal([0, 1], [2, 8, 8, 1], ends)
      >>> bool(tf.reduce_all(z[1:] == normal([0, 1], [1, 8, 8, 1], first=8)))
      True
    """
    angle = math.pi / 2 * position
    cosine = tf.where(position == 1, 0.0, tf.cos(angle))
    sine = tf.where(position == 1, 1.0, tf.sin(angle))
    is_one = tf.equal(begin, end)
    return Between(begin, end, tf.where(is_one, 1.0, cosine), tf.where(is_one, 0.0, sine))


def normal(seed: Seed, shape: Sequence[int] | tf.Tensor, first: int | tf.Tensor | Between = 0) -> tf.Tensor:
    """Draws standard normal noise for the n images with the indices `first`, `first` + 1, ...

    Args:
      seed: random seed, int32 [2].
      shape: [n, H, W, C].
      first: index of the first image; or a `Between`, for noises between those of two images.

    Returns:
      float32 [n, H, W, C]. Row i depends on (seed, first + i) only. With a `Between`, row i is the sum of the
      noises of its two images, with the weights `cosine[i]` and `sine[i]`.

    Examples:
      Images 3 and 4, and image 4 alone, get the same noise for image 4:
      >>> images = normal([0, 1], [2, 8, 8, 1], first=3)
      >>> bool(tf.reduce_all(images[1:] == normal([0, 1], [1, 8, 8, 1], first=4)))
      True
    """
    if isinstance(first, Between):
        one = tf.concat([[1], shape[1:]], axis=0)
        ends = (normal(seed, one, first.begin), normal(seed, one, first.end))
        cosine, sine = (tf.reshape(weight, [-1, 1, 1, 1]) for weight in (first.cosine, first.sine))
        return cosine * ends[0] + sine * ends[1]
    size = tf.reduce_prod(shape[1:])
    counts_per_image = -(-size // _NUMBERS_PER_COUNT)
    key, counter = _at_image(seed, counts_per_image, first)
    drawn = [shape[0], counts_per_image * _NUMBERS_PER_COUNT]
    numbers = tf.raw_ops.StatelessRandomNormalV2(shape=drawn, key=key, counter=counter, alg=_PHILOX)
    return tf.reshape(numbers[:, :size], shape)


def uniform(seed: Seed, num_images: int | tf.Tensor, first: int | tf.Tensor | Between = 0) -> tf.Tensor:
    """Draws one number in [0, 1) for each of the n images with the indices `first`, `first` + 1, ...

    Args:
      seed: random seed, int32 [2].
      num_images: n.
      first: index of the first image; or a `Between`, which names two images, `begin` and `end`.

    Returns:
      float32 [n]. Number i depends on (seed, first + i) only. With a `Between`, it is the number of image
      `end` if `sine[i]` > `cosine[i]`, else that of image `begin`.

    Examples:
      >>> numbers = uniform([0, 1], 2, first=3)
      >>> bool(numbers[1] == uniform([0, 1], 1, first=4)[0])
      True
    """
    if isinstance(first, Between):  # The number of the nearer image.
        begin, end = (uniform(seed, 1, one) for one in (first.begin, first.end))
        return tf.where(first.sine > first.cosine, end, begin)
    key, counter = _at_image(seed, 1, first)
    drawn = [num_images, _NUMBERS_PER_COUNT]
    return tf.raw_ops.StatelessRandomUniformV2(shape=drawn, key=key, counter=counter, alg=_PHILOX)[:, 0]


def _at_image(
    seed: Seed, counts_per_image: int | tf.Tensor, first: int | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the key of the Philox generator, and the counter at which image `first` has its numbers."""
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    offset = tf.cast(first, tf.uint64) * tf.cast(counts_per_image, tf.uint64)
    return key, counter + tf.stack([offset, tf.zeros([], tf.uint64)])


def levels(seed: Seed, num_levels: int, batch_size: int) -> tf.Tensor:
    """Draws a noise level for each image of a batch, uniform over 0, ..., `num_levels` - 1.

    Args:
      seed: random seed, int32 [2].
      num_levels: number of noise levels.
      batch_size: number of images.

    Returns:
      int32 [batch_size].

    Examples:
      >>> sorted(set(levels([0, 1], num_levels=3, batch_size=100).numpy().tolist()))
      [0, 1, 2]
    """
    return tf.random.stateless_uniform([batch_size], fold(seed, LEVEL), 0, num_levels, tf.int32)


def stratified(seed: Seed, batch_size: int) -> tf.Tensor:
    """Draws evenly spaced numbers in [0, 1) with one random offset.

    Number i is (u + i / batch_size) mod 1 with one random u. So each number is uniform in [0, 1), but
    together they cover the interval evenly.

    Args:
      seed: random seed, int32 [2].
      batch_size: how many numbers to draw.

    Returns:
      float32 [batch_size].

    Examples:
      >>> np.diff(np.sort(stratified([0, 1], batch_size=4))).round(5)
      array([0.25, 0.25, 0.25], dtype=float32)
    """
    start = tf.random.stateless_uniform([], fold(seed, LEVEL))
    return (start + tf.range(batch_size, dtype=tf.float32) / batch_size) % 1


def continuous_angles(u: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """Maps uniform random numbers to random noise levels between two angles.

    An angle is a noise level: a noisy image is cos(angle) x + sin(angle) noise. Results at even indices are
    uniform in the angle, which favours the noise levels where shapes form. Results at odd indices are uniform
    in the log-SNR, -2 log tan(angle), which favours low noise.

    Args:
      u: uniform random numbers in [0, 1), float32 [B].
      low: smallest angle in radians, above 0.
      high: largest angle in radians, below pi / 2.

    Returns:
      Angles in radians, float32 [B].

    Examples:
      >>> continuous_angles(tf.constant([0.5, 0.5]), low=0.1, high=1.5).numpy().round(3)
      array([0.8  , 0.872], dtype=float32)
    """
    linear = low + (high - low) * u
    log_low = math.log(math.tan(low))
    log_high = math.log(math.tan(high))
    log_tan = log_low + (log_high - log_low) * u
    return tf.where(tf.range(tf.size(u)) % 2 == 0, linear, tf.atan(tf.exp(log_tan)))


def dropped(seed: Seed, rate: float, batch_size: int) -> tf.Tensor:
    """Draws which images of a batch lose their label in a training step, for classifier-free guidance.

    Args:
      seed: random seed, int32 [2].
      rate: probability that an image loses its label.
      batch_size: number of images.

    Returns:
      True for images that lose their label, bool [batch_size].

    Examples:
      >>> dropped([0, 1], rate=1.0, batch_size=3).numpy()
      array([ True,  True,  True])
    """
    return tf.random.stateless_uniform([batch_size], fold(seed, LABEL)) < rate


@dataclasses.dataclass(frozen=True, eq=False)
class Dropout:
    """Dropout whose mask depends only on the seed and the index of the image.

    Call it with activations, [n, ...], and `rate`, the share of activations to drop.

    Attributes:
      seed: random seed, int32 [2].
      firsts: for each part of the activations, the index of its first image. The n rows consist of
        len(firsts) parts of equal size, such as real and drawn images. A part holds consecutive images.

    Examples:
      At rate 0.5, an activation of 1 becomes 0 or 2:

      >>> h = Dropout([0, 1]).fold(2)(tf.ones([1, 8, 8, 4]), rate=0.5)
      >>> sorted(set(h.numpy().ravel().tolist()))
      [0.0, 2.0]
    """

    seed: Seed
    firsts: tuple[int | tf.Tensor, ...] = (0,)

    def fold(self, number: int) -> 'Dropout':
        """Returns a `Dropout` whose masks are independent of those of this one.

        Args:
          number: any integer, such as the number of a layer; each integer gives other masks.
        """
        return Dropout(fold(self.seed, number), self.firsts)

    def __call__(self, h: tf.Tensor, rate: float) -> tf.Tensor:
        """Sets activations h, float [n, H, W, C], to 0 with probability `rate`; scales the rest up."""
        shape = h.shape[1:]
        counts = -(-shape.num_elements() // _NUMBERS_PER_COUNT)
        size = [tf.shape(h)[0] // len(self.firsts), counts * _NUMBERS_PER_COUNT]
        places = (_at_image(self.seed, counts, first) for first in self.firsts)
        draws = [
            tf.raw_ops.StatelessRandomUniformV2(shape=size, key=key, counter=counter, alg=_PHILOX)
            for key, counter in places
        ]
        kept = tf.reshape(tf.concat(draws, axis=0)[:, : shape.num_elements()], tf.shape(h)) >= rate
        return tf.where(kept, h / tf.cast(1 - rate, h.dtype), tf.zeros_like(h))
