"""Requests to an exported model: finite numbers of the right shape, or an error with a message; the next
request is answered."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from helpers.hostile import damaged, tries
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

MOST = 20
GOOD = {
    'images': np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 1)).astype(np.float32),
    'level': np.int32([0, 1, 1]),
    'seed': np.int32([5, 6]),
    'num_samples': np.int32(3),
    'labels': np.int32([-1, 0, 9]),
    'guidance': np.float32(0.5),
    'images_bytes': tf.io.encode_png(
        np.random.default_rng(1).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    ).numpy(),
    'missing': np.random.default_rng(2).random([3, 8, 8, 1]) < 0.3,
    'between': np.int32([3, 7]),
    'position': np.float32([0, 0.3, 1]),
}


@pytest.fixture(scope='module')
def signatures(whole_export):
    """All but the default one, which is `sample`."""
    found = tf.saved_model.load(str(whole_export)).signatures
    return {name: found[name] for name in found if name != 'serving_default'}


def answered(function):
    """The answer to the good request."""
    names = function.structured_input_signature[1]
    return {
        name: value.numpy()
        for name, value in function(**{name: tf.constant(GOOD[name]) for name in names}).items()
    }


@pytest.fixture(scope='module')
def good_answers(signatures):
    return {name: answered(signatures[name]) for name in signatures}


INT32 = st.integers(-(2**31), 2**31 - 1)
SHAPES = st.sampled_from([(), (0,), (1,), (2,), (3,), (MOST,), (MOST + 1,), (3, 1), (2, 2)])
IMAGE_SHAPES = st.sampled_from([
    (3, 8, 8, 1), (0, 8, 8, 1), (1, 8, 8, 1), (2, 8, 8, 1), (MOST, 8, 8, 1), (MOST + 1, 8, 8, 1),
    (3, 8, 8, 3), (3, 4, 4, 1), (3, 8, 8), (8, 8, 1), (3, 1, 64, 1), (), (0,), (3, 8, 8, 0), (3, 8, 8, 1, 1),
])  # fmt: skip
# TensorFlow takes subnormal numbers for zero, so a negative one is a right position.
FLOAT32 = functools.partial(st.floats, width=32, allow_subnormal=False)
FLOATS = st.one_of(FLOAT32(), st.sampled_from([0.0, 1.0, 1e30, -3e38, 1e-40, float('nan'), float('inf')]))
DTYPES = st.sampled_from([np.float64, np.float16, np.int64, np.int8, np.uint8, bool, complex, str])
ONE = {
    'level': st.one_of(st.integers(-2, 3), INT32),
    'labels': st.one_of(st.integers(-3, 12), INT32),
    'num_samples': st.one_of(st.integers(-2, MOST + 2), INT32),
    'seed': INT32,
    'guidance': st.one_of(FLOAT32(-2, 21), FLOATS),
    'missing': st.booleans(),
    'between': st.one_of(st.integers(-2, 9), INT32),
    'position': st.one_of(FLOAT32(-0.5, 1.5), FLOATS),
}


@st.composite
def values(draw, name):
    """A value for an input, more often right than not."""
    if draw(st.booleans()):
        return GOOD[name]
    if name == 'images_bytes':
        value = np.resize(GOOD[name], draw(SHAPES))
        if value.size and draw(st.booleans()):
            value.flat[draw(st.integers(0, value.size - 1))] = draw(damaged(GOOD[name][0]))
        return value
    if name == 'images':
        value = np.full(draw(IMAGE_SHAPES), draw(st.floats(-2, 2, width=32)), np.float32)
        if value.size and draw(st.booleans()):
            value.flat[draw(st.integers(0, value.size - 1))] = draw(FLOATS)
    else:
        right = GOOD[name].shape
        shape = draw(st.one_of(st.just(right), st.just(right), SHAPES))
        value = np.full(shape, draw(ONE[name]), GOOD[name].dtype)
        if value.size and draw(st.booleans()):
            value.flat[0] = draw(ONE[name])
    with np.errstate(all='ignore'):
        return value.astype(draw(DTYPES)) if draw(st.sampled_from([False] * 9 + [True])) else value


@tries(500)
@given(data=st.data())
def test_any_request(signatures, good_answers, data):
    name = data.draw(st.sampled_from(sorted(signatures)))
    function = signatures[name]
    feed = {key: data.draw(values(key)) for key in function.structured_input_signature[1]}
    names = data.draw(st.sampled_from(['right'] * 14 + ['lost', 'more']))
    if names == 'lost':
        feed.pop(data.draw(st.sampled_from(sorted(feed))))
    elif names == 'more':
        feed['more'] = np.int32(1)
    try:
        answer = {
            key: value.numpy()
            for key, value in function(**{key: tf.constant(value) for key, value in feed.items()}).items()
        }
    except (tf.errors.InvalidArgumentError, ValueError, TypeError) as error:
        assert str(error).strip() and (
            not is_right(function, feed) or 'finite' in str(error) or 'PNG' in str(error)
        ), error
    else:
        assert is_right(function, feed)
        counted = next((key for key in ('images', 'images_bytes', 'position', 'labels') if key in feed), None)
        count = int(feed['num_samples']) if counted is None else len(feed[counted])
        for key, value in answer.items():
            assert value.shape == (count, *good_answers[name][key].shape[1:])
            assert (
                all(file.startswith(b'\x89PNG') for file in value)
                if value.dtype == object
                else np.isfinite(value.astype(float)).all()
            )
    if data.draw(st.sampled_from([True, False, False])):
        for key, value in answered(function).items():
            np.testing.assert_array_equal(value, good_answers[name][key])


def is_right(function, feed):
    """Whether the inputs are those of a signature, in their types, shapes and bounds."""
    names = function.structured_input_signature[1]
    if feed.keys() != names.keys() or any(feed[key].dtype != GOOD[key].dtype for key in names):
        return False
    if any(feed[key].ndim != GOOD[key].ndim or feed[key].shape[1:] != GOOD[key].shape[1:] for key in names):
        return False
    bounds = {
        'level': (0, 1),
        'labels': (-1, 9),
        'guidance': (-1, 20),
        'num_samples': (1, MOST),
        'images': (-3.4e38, 3.4e38),
        'between': (0, 2**31 - 1),
        'position': (0, 1),
    }
    by_image = ('images', 'images_bytes', 'level', 'labels', 'missing', 'position')
    lengths = {len(feed[key]) for key in by_image if key in feed}
    if 'missing' in feed and 'images' in feed and len(lengths) == 1:  # Only the known pixels count.
        bounds['images'] = (-1.001, 1.001)
        feed = {**feed, 'images': np.where(feed['missing'], 0, feed['images'])}
    within = all(
        ((low <= feed[key]) & (feed[key] <= high)).all() for key, (low, high) in bounds.items() if key in feed
    )
    return (
        within
        and lengths <= {*range(1, MOST + 1)}
        and len(lengths) < 2
        and all(feed[key].shape == (2,) for key in ('seed', 'between') if key in feed)
    )


def test_denoising_out_of_bounds_is_an_error(signatures, good_answers):
    """Images so large that float32 overflows on the way; the next request is answered as before."""
    feed = {name: tf.constant(GOOD[name]) for name in ('level', 'seed')}
    with pytest.raises(tf.errors.InvalidArgumentError, match='not finite'):
        signatures['denoise'](images=tf.fill([3, 8, 8, 1], 3e38), **feed)
    np.testing.assert_array_equal(
        answered(signatures['denoise'])['images'], good_answers['denoise']['images']
    )
