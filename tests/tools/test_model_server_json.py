"""Bodies of REST requests as tensors."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from drl_tf.tools import model_server_json


def filled(value, dtype):
    """The tensor of an input `x` of this type."""
    request = predict_pb2.PredictRequest()
    body = json.dumps({'inputs': {'x': value}}).encode()
    infos = {'x': types.SimpleNamespace(dtype=dtype.as_datatype_enum)}
    model_server_json.fill(request, body, lambda name: infos)
    return tf.make_ndarray(request.inputs['x'])


def test_booleans_are_those_of_a_mask():
    np.testing.assert_array_equal(filled([[True], [False]], tf.bool), [[True], [False]])


@pytest.mark.parametrize(
    ('value', 'dtype'),
    [([1], tf.bool), ([True], tf.int32), ([True], tf.float32), ([2**31], tf.int32), ([10**400], tf.float32)],
)
def test_values_of_other_types_are_refused(value, dtype):
    with pytest.raises(ValueError, match=f'is not of expected type: {dtype.name}'):
        filled(value, dtype)
