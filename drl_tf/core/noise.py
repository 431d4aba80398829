"""Random draws as a function of (seed, purpose, step, level) and of the index of the image.

Image i gets the same noise in a batch of any size and on any number of replicas: the counter-based Philox
generator starts at the counter of image i. (Under XLA the draws are as random, but other ones.)
"""

import dataclasses
import math

import tensorflow as tf

# Roots beside the seed of a run, one for each user of randomness, and purposes within one.
TRAINING, MIRRORING, DATA_ORDER, SAMPLING, LIKELIHOOD, LONG_RUN = range(6)
FORWARD, LEVEL, LANGEVIN, PRIOR, DROPOUT, START, LABEL = range(7)
_PHILOX = 1
_NUMBERS_PER_COUNT = 4


def root(seed, user):
    """The seed of one user of randomness, such as `SAMPLING`, in a run with `seed`: int32 [2] as a list."""
    return [seed, user]


def fold(seed, *numbers):
    """A seed (int32 [2]) made from another and any integers: the purpose, the step, the level."""
    for number in numbers:
        seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int32))
    return seed


def normal(seed, shape, first=0):
    """Standard normal noise for images `first`, `first` + 1, ...

    Args:
      seed: int32 [2].
      shape: [n, H, W, C].
      first: index of the first image, int.

    Returns:
      float32 of `shape`; row i depends on (seed, first + i) alone.
    """
    size = tf.reduce_prod(shape[1:])
    counts_per_image = -(-size // _NUMBERS_PER_COUNT)
    key, counter = _at_image(seed, counts_per_image, first)
    drawn = [shape[0], counts_per_image * _NUMBERS_PER_COUNT]
    numbers = tf.raw_ops.StatelessRandomNormalV2(shape=drawn, key=key, counter=counter, alg=_PHILOX)
    return tf.reshape(numbers[:, :size], shape)


def _at_image(seed, counts_per_image, first):
    """Key and counter of the Philox generator of image `first`."""
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    offset = tf.cast(first, tf.uint64) * tf.cast(counts_per_image, tf.uint64)
    return key, counter + tf.stack([offset, tf.zeros([], tf.uint64)])


def levels(seed, num_levels, batch_size):
    """Levels t ~ U{0..T-1} of the images of the global batch, int32 [batch_size]."""
    return tf.random.stateless_uniform([batch_size], fold(seed, LEVEL), 0, num_levels, tf.int32)


def stratified(seed, batch_size):
    """One number in [0, 1) for each image of the global batch, evenly spaced from a random start on: float32
    [batch_size]."""
    start = tf.random.stateless_uniform([], fold(seed, LEVEL))
    return (start + tf.range(batch_size, dtype=tf.float32) / batch_size) % 1


def continuous_angles(u, low, high):
    """Noise levels between two angles: every other one even in the angle, the others in the log-SNR.

    Even in the angle hardly any would be near the low end; even in the log-SNR few where images take shape.

    Args:
      u: numbers in [0, 1), float32 [B].
      low, high: angles, floats.

    Returns:
      Angles, float32 [B].
    """
    linear = low + (high - low) * u
    log_tan = math.log(math.tan(low)) + (math.log(math.tan(high)) - math.log(math.tan(low))) * u
    return tf.where(tf.range(tf.size(u)) % 2 == 0, linear, tf.atan(tf.exp(log_tan)))


def dropped(seed, rate, batch_size):
    """Which images of the global batch lose their label, bool [batch_size]."""
    return tf.random.stateless_uniform([batch_size], fold(seed, LABEL)) < rate


@dataclasses.dataclass(frozen=True, eq=False)
class Dropout:
    """Which activations are dropped, a function of the seed and of the index of the image.

    Attributes:
      seed: int32 [2].
      firsts: the batch is made of as many equal parts; index of the first image of each.
    """

    seed: tf.Tensor
    firsts: tuple = (0,)

    def fold(self, number):
        """Another one for each layer of a network."""
        return Dropout(fold(self.seed, number), self.firsts)

    def __call__(self, h, rate):
        """Drops a share of the activations of h, float [n, H, W, C], and scales the others up."""
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
