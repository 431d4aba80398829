"""The memory of a step: flat in the length and number of chains' levels, and predicted."""

import pytest
import tensorflow as tf
from tiny import run

from drl_tf import memory

PEAK = """
import resource, sys
import tensorflow as tf
from drl_tf import config
from drl_tf.train import compiled_model
steps, levels = map(int, sys.argv[1:])
options = config.Config().replace(
    image_size=16, image_channels=1, channels=32, num_res_blocks=1, channel_mult=(1, 2), batch_size=64, initializer=True,
    initializer_channels=32, initializer_mult=(1,), initializer_blocks=1, mcmc_steps=(steps,), num_levels=levels,
)
model = compiled_model(options)
step = tf.function(model.train_step, autograph=False)
for _ in range(2):
    step(tf.zeros([64, 16, 16, 1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_the_peak_is_flat_in_steps_and_levels():
    """K = 5 against 60 and T = 2 against 40, each in a process of its own, within 10 %."""
    peaks = {}
    for steps, levels in ((5, 2), (60, 2), (5, 40)):
        done = run('-c', PEAK, steps, levels)
        assert done.returncode == 0, done.stderr
        peaks[steps, levels] = int(done.stdout)
    assert max(peaks.values()) < 1.1 * min(peaks.values()), peaks


def two_layers(y):
    """Two convolutions with leaky ReLU between, 8 and 4 channels, and the gradient in their kernels."""
    kernels = [tf.ones([3, 3, 4, 8]), tf.ones([3, 3, 8, 4])]
    with tf.GradientTape() as tape:
        tape.watch(kernels)
        h = tf.nn.conv2d(y, kernels[0], 1, 'SAME')
        z = tf.nn.conv2d(tf.nn.leaky_relu(h), kernels[1], 1, 'SAME')
    return tape.gradient(z, kernels)


def test_peak_of_two_layers():
    """In the gradient of the first kernel: y, h with its sign, and the gradient in h; the two ends, 4 channels, are gone by then."""
    pixels = 10 * 10
    assert memory.peak(two_layers, (10, 10, 4)) == pytest.approx(4 * pixels * (4 + 8 + 8), rel=0.01)


def test_signs_are_kept_in_bytes():
    """The gradient in y needs the sign alone of what enters the leaky ReLU, from long before."""

    def function(y):
        with tf.GradientTape() as tape:
            tape.watch(y)
            h, kernel = y, tf.ones([1, 1, 4, 4])
            for _ in range(20):
                h = tf.nn.conv2d(tf.nn.leaky_relu(h), kernel, 1, 'SAME')
        return tape.gradient(h, y)

    numbers = 10 * 10 * 4
    assert memory.peak(function, (10, 10, 4)) == pytest.approx(numbers * (20 + 2 * 4), rel=0.2)
