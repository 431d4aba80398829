"""Reads and writes the JSON of TensorFlow Serving's REST interface, for `model_server`."""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

_BYTES = '_bytes'


def fill(
    request: predict_pb2.PredictRequest, body: bytes, inputs_of: Callable[[str], Mapping[str, Any]]
) -> bool:
    """Copies signature and inputs from the body of a REST request to a `PredictRequest`.

    Args:
      request: the `PredictRequest` to fill; the caller has already set the name of the model.
      body: the body of the REST request, JSON.
      inputs_of: callable that maps the name of a signature to its inputs, {name: `TensorInfo`}.

    Returns:
      Whether the body lists its inputs row by row, as "instances"; False if it has one tensor per input, as
      "inputs". The answer must have the same form: pass this value to `answer` as `by_row`.

    Raises:
      ValueError: the body is malformed.
    """
    document = json.loads(body or b'')
    if not isinstance(document, dict):
        raise ValueError('JSON Value: is not object')
    name = document.get('signature_name', '')
    if not isinstance(name, str):
        raise ValueError("'signature_name' key must be a string value")
    request.model_spec.signature_name = name
    infos = inputs_of(name)
    given = [key for key in ('instances', 'inputs') if key in document]
    if len(given) != 1:
        raise ValueError("Expecting one of 'instances' and 'inputs'")
    values = _columns(document['instances'], infos) if given == ['instances'] else document['inputs']
    if not isinstance(values, dict) or _is_binary(values):
        if len(infos) > 1:
            raise ValueError(
                'inputs is a plain value/list, but expecting an object as multiple input tensors are required'
            )
        values = {next(iter(infos)): values}
    for key, info in infos.items():
        if key not in values:
            raise ValueError(f"Missing named input: {key} in 'inputs' object.")
        request.inputs[key].CopyFrom(_tensor(values[key], tf.dtypes.as_dtype(info.dtype)))
    return given == ['instances']


def _columns(instances: Any, infos: Mapping[str, Any]) -> Any:
    """Converts rows, a list of dicts, to columns, a dict of lists."""
    if not isinstance(instances, list) or not instances:
        raise ValueError("Expecting 'instances' to be a list that is not empty")
    if not isinstance(instances[0], dict) or _is_binary(instances[0]):
        return instances
    for row in instances:
        if not isinstance(row, dict) or row.keys() != infos.keys():
            raise ValueError(f'Failed to process an element: its keys must be equal to: {",".join(infos)}')
    return {key: [row[key] for row in instances] for key in infos}


def _is_binary(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {'b64'}


def _tensor(value: Any, dtype: tf.DType) -> Any:
    """Returns the `TensorProto` of nested lists."""
    shape = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    flat = _flat(value, shape, dtype)
    return tf.make_tensor_proto(np.array(flat, dtype.as_numpy_dtype).reshape(shape), dtype)


def _flat(value: Any, shape: Sequence[int], dtype: tf.DType) -> list[Any]:
    """Flattens nested lists; raises ValueError unless they have this shape and type."""
    if isinstance(value, list) != bool(shape) or (shape and len(value) != shape[0]):
        raise ValueError('Encountered list at unexpected level or of unexpected size')
    if shape:
        return [number for part in value for number in _flat(part, shape[1:], dtype)]
    if dtype == tf.string and _is_binary(value):
        try:
            return [base64.b64decode(value['b64'], validate=True)]
        except (binascii.Error, TypeError, ValueError) as error:
            raise ValueError('Unable to base64 decode') from error
    right: Any = {tf.string: str, tf.float32: (int, float), tf.int32: int, tf.bool: bool}[dtype]
    is_right = isinstance(value, right) and isinstance(value, bool) == (dtype == tf.bool)
    largest = {tf.int32: 2**31 - 1, tf.float32: 2**127}.get(dtype)
    is_far = largest and isinstance(value, int) and not -largest - 1 <= value <= largest
    if not is_right or is_far:
        raise ValueError(f'JSON Value: {json.dumps(value)[:50]} is not of expected type: {dtype.name}')
    return [value.encode() if dtype == tf.string else value]


def answer(outputs: Mapping[str, np.ndarray], by_row: bool) -> str:
    """Returns the body of a REST answer, JSON.

    Args:
      outputs: {name of an output: array}.
      by_row: whether the answer goes row by row. True: the body has "predictions", a list with one object per
        row, {name of an output: value}. False: it has "outputs", one object, {name of an output: tensor}. A
        model with a single output answers with its values in place of such objects.
    """
    values = {name: _listed(name, array) for name, array in outputs.items()}
    if len(values) == 1:
        (only,) = values.values()
        return json.dumps({'predictions' if by_row else 'outputs': only})
    if not by_row:
        return json.dumps({'outputs': values})
    rows = zip(*values.values(), strict=True)
    return json.dumps({'predictions': [dict(zip(values, row, strict=True)) for row in rows]})


def _listed(name: str, array: np.ndarray) -> Any:
    if array.dtype != object:
        return array.tolist()
    if name.endswith(_BYTES):
        return [{'b64': base64.b64encode(text).decode()} for text in array.tolist()]
    return [text.decode() for text in array.tolist()]


def error(message: str) -> str:
    """Returns the body of a REST answer that reports an error: {"error": message}, as JSON text."""
    return json.dumps({'error': message})
