"""Writes warm-up requests, which TensorFlow Serving runs while it loads a model.

The file is a TFRecord of `PredictionLog` messages. A request fills these fields (prediction_log.proto,
predict.proto, model.proto):

    PredictionLog.predict_log = 6 > PredictLog.request = 1 >
        PredictRequest.model_spec = 1 > ModelSpec.signature_name = 3
        PredictRequest.inputs = 2, a map: key = 1, value = 2 (TensorProto)

The module encodes these messages itself (a tag, a length, the content), without tensorflow-serving-api.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

FILE_NAME = 'tf_serving_warmup_requests'
_GREY = 127


def write(directory: str, signatures: Mapping[str, Any], image_shape: Sequence[int]) -> None:
    """Writes the file of warm-up requests: one request, of one image, for each signature.

    Args:
      directory: the directory `assets.extra` of an exported model.
      signatures: the signatures of the model, {name: concrete function}.
      image_shape: (H, W, C) of the model's images.
    """
    with tf.io.TFRecordWriter(os.path.join(directory, FILE_NAME)) as file:
        for name, function in signatures.items():
            specs = tf.nest.flatten(function.structured_input_signature)
            file.write(_record(name, {spec.name: _example(spec, image_shape) for spec in specs}))


def _record(signature: str, inputs: Mapping[str, Any]) -> bytes:
    """Serialises a request of a signature, {input: array}, as a `PredictionLog` of TensorFlow Serving."""
    fields = [_field(1, _field(3, signature.encode()))]
    for key, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        fields.append(_field(2, _field(1, key.encode()) + _field(2, tensor)))
    return _field(6, _field(1, b''.join(fields)))


def _field(number: int, content: bytes) -> bytes:
    """Encodes a field of bytes, or of a message, as protobuf does."""
    length = len(content)
    varint = []
    while length > 127:
        varint.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *varint, length]) + content


def _example(spec: tf.TensorSpec, image_shape: Sequence[int]) -> np.ndarray | np.generic:
    """Returns a value for an input that every signature accepts: one grey image, level 0, class 0."""
    if spec.dtype == tf.string:
        return np.array([tf.io.encode_png(np.full(image_shape, _GREY, np.uint8)).numpy()])
    if spec.name == 'num_samples':
        return np.int32(1)
    return np.zeros([1 if size is None else size for size in spec.shape], spec.dtype.as_numpy_dtype)
