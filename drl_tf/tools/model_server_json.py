"""TensorFlow Serving's JSON of requests and answers, as its api_rest.md describes it, for the stand-in
`model_server.py`."""

import base64
import binascii
import json

import numpy as np
import tensorflow as tf

_BYTES = '_bytes'


def fill(request, body, inputs_of):
    """Fills a `PredictRequest` from the body of a request.

    Args:
      request: the `PredictRequest`, its model named.
      body: bytes.
      inputs_of: callable, name of a signature -> {input: `TensorInfo`}.

    Returns:
      Whether the tensors came by row, as "instances".

    Raises:
      ValueError: the body is not as it should be.
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


def _columns(instances, infos):
    """Rows as columns."""
    if not isinstance(instances, list) or not instances:
        raise ValueError("Expecting 'instances' to be a list that is not empty")
    if not isinstance(instances[0], dict) or _is_binary(instances[0]):
        return instances
    for row in instances:
        if not isinstance(row, dict) or row.keys() != infos.keys():
            raise ValueError(f'Failed to process an element: its keys must be equal to: {",".join(infos)}')
    return {key: [row[key] for row in instances] for key in infos}


def _is_binary(value):
    return isinstance(value, dict) and value.keys() == {'b64'}


def _tensor(value, dtype):
    """A `TensorProto` of nested lists."""
    shape, inner = [], value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    flat = _flat(value, shape, dtype)
    return tf.make_tensor_proto(np.array(flat, dtype.as_numpy_dtype).reshape(shape), dtype)


def _flat(value, shape, dtype):
    if isinstance(value, list) != bool(shape) or (shape and len(value) != shape[0]):
        raise ValueError('Encountered list at unexpected level or of unexpected size')
    if shape:
        return [number for part in value for number in _flat(part, shape[1:], dtype)]
    if dtype == tf.string and _is_binary(value):
        try:
            return [base64.b64decode(value['b64'], validate=True)]
        except (binascii.Error, TypeError, ValueError) as error:
            raise ValueError('Unable to base64 decode') from error
    right = {tf.string: str, tf.float32: (int, float), tf.int32: int}[dtype]
    if (
        not isinstance(value, right)
        or isinstance(value, bool)
        or (dtype == tf.int32 and not -(2**31) <= value < 2**31)
    ):
        raise ValueError(f'JSON Value: {json.dumps(value)[:50]} is not of expected type: {dtype.name}')
    return [value.encode() if dtype == tf.string else value]


def answer(outputs, by_row):
    """The body of the answer.

    Args:
      outputs: {name: array}.
      by_row: whether it goes by row, as "predictions".
    """
    values = {name: _listed(name, array) for name, array in outputs.items()}
    if len(values) == 1:
        (only,) = values.values()
        return json.dumps({'predictions' if by_row else 'outputs': only})
    if not by_row:
        return json.dumps({'outputs': values})
    return json.dumps(
        {'predictions': [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]}
    )


def _listed(name, array):
    if array.dtype != object:
        return array.tolist()
    encode = (
        (lambda text: {'b64': base64.b64encode(text).decode()}) if name.endswith(_BYTES) else bytes.decode
    )
    return [encode(text) for text in array.tolist()]


def error(message):
    """The body of a refusal."""
    return json.dumps({'error': message})
