"""The convolutions that a graph needs, and the same convolutions alone."""

import math

import numpy as np
import pytest
import tensorflow as tf
from helpers import small_models

from drl_tf.core.langevin import value_gradient
from drl_tf.planning.flops import cost
from drl_tf.tools.bench import convolutions
from drl_tf.tools.bench.timing import in_turn

WINDOW = tf.random.stateless_normal([3, 3, 2, 4], [0, 1])
IMAGE = tf.random.stateless_normal([2, 8, 8, 2], [0, 2])


def loss(image, window):
    return tf.reduce_sum(tf.nn.conv2d(image, window, 2, 'SAME') ** 2)


def gradients(image, window):
    with tf.GradientTape() as tape:
        tape.watch([image, window])
        value = loss(image, window)
    return tape.gradient(value, [image, window])


def test_each_is_found_and_computes_what_it_computes_in_the_graph():
    found = convolutions.of_graph(tf.function(gradients), IMAGE, WINDOW)
    kinds = {each.operation: each for each in found}
    assert convolutions.counted(found) == {'forward': 1, 'input gradient': 1, 'filter gradient': 1}
    assert {each.flops for each in found} == {2 * 2 * 4 * 4 * 4 * 9 * 2}
    assert convolutions.flops(found) == 3 * found[0].flops
    output = kinds['Conv2D'].run(IMAGE, WINDOW, None)
    np.testing.assert_array_equal(output, tf.nn.conv2d(IMAGE, WINDOW, 2, 'SAME'))
    of_image, of_window = gradients(IMAGE, WINDOW)
    again = kinds['Conv2DBackpropInput'].run(None, WINDOW, 2 * output)
    np.testing.assert_allclose(again, of_image, rtol=1e-5, atol=1e-5)
    again = kinds['Conv2DBackpropFilter'].run(IMAGE, None, 2 * output)
    np.testing.assert_allclose(again, of_window, rtol=1e-5, atol=1e-5)
    total = convolutions.alone(found, repeats=3)()
    assert math.isfinite(total) and total != 0
    assert convolutions.alone(found, repeats=3, num_parts=2)() == pytest.approx(total, rel=1e-5)


def test_what_the_result_does_not_need_is_not_counted():
    """The tape makes the gradients of both, and the function returns one."""
    found = convolutions.of_graph(tf.function(lambda *inputs: gradients(*inputs)[0]), IMAGE, WINDOW)
    assert convolutions.counted(found) == {'forward': 1, 'input gradient': 1, 'filter gradient': 0}


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_a_langevin_step_is_convolutions_for_the_most_part(precision):
    """No filter gradient is among them, and their operations are nearly all of those that the plan counts."""
    model = small_models.initial(precision=precision, channels=16, num_res_blocks=2)

    @tf.function
    def gradient(y):
        return value_gradient(model.density_at(tf.zeros([4], tf.int32), 'raw'), y)

    found = convolutions.of_graph(gradient, tf.zeros([4, 8, 8, 1]))
    assert convolutions.counted(found) == {'forward': 5, 'input gradient': 5, 'filter gradient': 0}
    assert {each.dtype for each in found} == {precision}
    planned = 4 * cost(model)['FLOPs of one Langevin step of an image']
    assert 0.8 * planned < convolutions.flops(found) <= planned


def test_repeats_are_run_and_not_merged():
    (one,) = convolutions.of_graph(tf.function(lambda x, w: tf.nn.conv2d(x, w, 1, 'SAME')),
                                   tf.zeros([8, 32, 32, 32]), tf.zeros([3, 3, 32, 32]))  # fmt: skip
    once = convolutions.alone([one])
    often = convolutions.alone([one] * 4, repeats=4)
    seconds = in_turn({'once': once, 'often': often}, rounds=5)
    assert 4 < np.median(seconds['often']) / np.median(seconds['once']) < 64
