"""Malformed requests to the server of a small export, and what the answers say."""

import base64
import json
import struct

import numpy as np
import tensorflow as tf


def damaged_png():
    return tf.io.encode_png(np.zeros([8, 8, 1], np.uint8)).numpy()[:-20]


def png_of(width, height):
    """A file that says it is of a size, and holds nothing."""
    return b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + struct.pack('>II', width, height) + b'\x08\0\0\0\0'


GOOD = {'signature_name': 'energy_bytes', 'inputs': {'images_bytes': ['8x8'], 'level': [1]}}
IMAGE = [[[[0.0]] * 8] * 8]
BAD = [
    (b'', 400, ''),
    (b'{', 400, ''),
    (b'[' * 100_000, 400, ''),
    (b'\xff\xfe', 400, ''),
    ([], 400, ''),
    ({}, 400, 'instances'),
    ({'signature_name': 'paint', 'inputs': {}}, 400, 'paint'),
    ({'signature_name': 7, 'inputs': {}}, 400, 'signature_name'),
    ({'inputs': {'seed': [1, 2]}}, 400, 'num_samples'),
    ({'inputs': {'seed': [1, 2], 'num_samples': 21}}, 400, 'num_samples must be from 1 to 20'),
    ({'inputs': {'seed': [1, 2], 'num_samples': -1}}, 400, 'num_samples must be from 1 to 20'),
    ({'inputs': {'seed': [1, 2], 'num_samples': 2**31}}, 400, ''),
    ({'inputs': {'seed': [1, 2], 'num_samples': 1.5}}, 400, ''),
    ({'inputs': {'seed': [1, 2, 3], 'num_samples': 1}}, 400, 'expected shape [2]'),
    ({'inputs': {'seed': 'x', 'num_samples': 1}}, 400, ''),
    ({'signature_name': 'sample_class', 'inputs': {'seed': [1, 2], 'labels': [10], 'guidance': 0}}, 400,
    'labels must be from -1 to 9'),
    ({'signature_name': 'sample_class', 'inputs': {'seed': [1, 2], 'labels': [1],
    'guidance': float('nan')}}, 400, 'guidance must be'),
    ({'signature_name': 'sample_class', 'inputs': {'seed': [1, 2], 'labels': [1], 'guidance': 1e9}}, 400,
    'guidance must be'),
    ({'signature_name': 'energy', 'inputs': {'images': IMAGE, 'level': [2]}}, 400, 'level must be from 0 to '
                                                                                   '1'),
    ({'signature_name': 'energy', 'inputs': {'images': IMAGE, 'level': [0, 1]}}, 400, 'equal lengths'),
    ({'signature_name': 'energy', 'inputs': {'images': [[[[float('nan')]] * 8] * 8], 'level': [0]}}, 400,
    'images must be finite'),
    ({'signature_name': 'energy', 'inputs': {'images': [[[0.0]] * 8] * 8, 'level': [0]}}, 400,
    'expected shape'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': [{'b64': '?'}], 'level': [0]}}, 400,
    'base64'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': ['no picture'], 'level': [0]}}, 400,
    'PNG files of 8 x 8 pixels'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': [b''], 'level': [0]}}, 400,
    'PNG files of 8 x 8 pixels'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': [png_of(60_000, 60_000)], 'level': [0]}},
    400, 'PNG files of 8 x 8'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': [png_of(8, 8)], 'level': [0]}}, 400,
    'PNG'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': [damaged_png()], 'level': [0]}}, 400,
    'PNG'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': [png_of(8, 8)] * 21, 'level': [0] * 21}},
    400, 'must be from 1 to 20'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': [], 'level': []}}, 400, ''),
]  # fmt: skip


def body_of(document):
    """JSON of a request; bytes within it become base64."""
    return (
        document
        if isinstance(document, bytes)
        else json.dumps(document, default=lambda value: {'b64': base64.b64encode(value).decode()})
    )
