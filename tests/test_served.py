"""A server of exported models, asked over REST and gRPC: malformed requests, and the commands that docs/serving.md prints.

`model_server.py` is a stand-in that speaks the protocol. Where a `tensorflow_model_server` is on the PATH, it is asked too.
"""

import base64
import json
import re
import shlex
import shutil
import struct
import subprocess
import sys

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from google.protobuf import text_format
from serving import inputs, request_of, serving
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2
from tiny import ROOT, run

pytestmark = pytest.mark.slow

DOCS = ROOT / 'docs'
REAL = shutil.which('tensorflow_model_server')


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
    ({'signature_name': 'sample_class', 'inputs': {'seed': [1, 2], 'labels': [10], 'guidance': 0}}, 400, 'labels must be from -1 to 9'),
    ({'signature_name': 'sample_class', 'inputs': {'seed': [1, 2], 'labels': [1], 'guidance': float('nan')}}, 400, 'guidance must be'),
    ({'signature_name': 'sample_class', 'inputs': {'seed': [1, 2], 'labels': [1], 'guidance': 1e9}}, 400, 'guidance must be'),
    ({'signature_name': 'energy', 'inputs': {'images': IMAGE, 'level': [2]}}, 400, 'level must be from 0 to 1'),
    ({'signature_name': 'energy', 'inputs': {'images': IMAGE, 'level': [0, 1]}}, 400, 'equal lengths'),
    ({'signature_name': 'energy', 'inputs': {'images': [[[[float('nan')]] * 8] * 8], 'level': [0]}}, 400, 'images must be finite'),
    ({'signature_name': 'energy', 'inputs': {'images': [[[0.0]] * 8] * 8, 'level': [0]}}, 400, 'expected shape'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': [{'b64': '?'}], 'level': [0]}}, 400, 'base64'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': ['no picture'], 'level': [0]}}, 400, 'PNG files of 8 x 8 pixels'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': [b''], 'level': [0]}}, 400, 'PNG files of 8 x 8 pixels'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': [png_of(60_000, 60_000)], 'level': [0]}}, 400, 'PNG files of 8 x 8'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': [png_of(8, 8)], 'level': [0]}}, 400, 'PNG'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': [damaged_png()], 'level': [0]}}, 400, 'PNG'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': [png_of(8, 8)] * 21, 'level': [0] * 21}}, 400, 'must be from 1 to 20'),
    ({'signature_name': 'energy_bytes', 'inputs': {'images_bytes': [], 'level': []}}, 400, ''),
]  # fmt: skip


def body_of(document):
    """JSON of a request; bytes within it become base64."""
    return (
        document if isinstance(document, bytes) else json.dumps(document, default=lambda value: {'b64': base64.b64encode(value).decode()})
    )


STAND_IN = [sys.executable, ROOT / 'tests' / 'model_server.py']
SERVERS = [
    pytest.param(STAND_IN, id='stand-in'),
    pytest.param([REAL], id='tensorflow_model_server', marks=pytest.mark.skipif(not REAL, reason='no tensorflow_model_server here')),
]


@pytest.fixture(scope='module', params=SERVERS)
def served(request, small_export, tmp_path_factory):
    """Ports of a server of the export as docs/serving/models.config has it: `digits`, versions 1 and 2 with labels, and a copy."""
    root = tmp_path_factory.mktemp('served')
    for path in ('digits/1', 'digits/2', 'digits_scores/1'):
        shutil.copytree(small_export, root / path)
    config = (DOCS / 'serving' / 'models.config').read_text().replace("'/models/", f"'{root}/")
    (root / 'models.config').write_text(config)
    options = dict(model_config_file=root / 'models.config', allow_version_labels_for_unavailable_models='true')
    with serving(request.param, root / 'log', **options) as ports:
        yield ports


def test_malformed_requests_get_a_message_and_the_next_one_an_answer(served):
    url = f'http://localhost:{served[1]}/v1/models/digits'
    good = json.loads(body_of(GOOD))
    good['inputs']['images_bytes'] = [{'b64': base64.b64encode(tf.io.encode_png(np.full([8, 8, 1], 200, np.uint8)).numpy()).decode()}]

    def energy():
        response = requests.post(f'{url}:predict', data=json.dumps(good), timeout=60)
        assert response.ok, response.text
        return response.json()['outputs']['energy']

    first = energy()
    for document, code, words in BAD:
        response = requests.post(f'{url}:predict', data=body_of(document), timeout=60)
        assert response.status_code == code and words in response.text and len(response.text) > 10, (document, response.text)
        assert energy() == first
    for path in ('/v1/models/nothing:predict', '/v1/models/digits/versions/9:predict'):
        assert requests.post(f'http://localhost:{served[1]}{path}', data=json.dumps(good), timeout=60).status_code == 404
    assert requests.post(f'{url}/labels/none:predict', data=json.dumps(good), timeout=60).status_code >= 400
    assert energy() == first


def test_malformed_requests_over_grpc(served):
    good = request_of('energy', inputs(3, ('images', 'level')))
    bad = [
        (request_of('energy', {'images': np.zeros([3, 8, 8, 1], np.float64), 'level': np.int32([0, 0, 0])}), ''),
        (request_of('energy', {'images': np.zeros([3, 8, 8, 3], np.float32), 'level': np.int32([0, 0, 0])}), 'shape'),
        (request_of('energy', {'images': np.zeros([21, 8, 8, 1], np.float32), 'level': np.zeros(21, np.int32)}), 'from 1 to 20'),
        (request_of('energy', {'images': np.full([1, 8, 8, 1], 3e38, np.float32), 'level': np.int32([0])}), 'not finite'),
        (request_of('denoise', {'images': np.zeros([1, 8, 8, 1], np.float32), 'level': np.int32([0])}), 'seed'),
        (request_of('sample', {'seed': np.int32([1, 2]), 'num_samples': np.int32(1), 'more': np.int32(1)}), 'more'),
    ]
    with grpc.insecure_channel(f'localhost:{served[0]}') as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        first = stub.Predict(good, timeout=60).outputs['energy']
        for request, words in bad:
            with pytest.raises(grpc.RpcError) as error:
                stub.Predict(request, timeout=60)
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and words in error.value.details(), error.value
            assert stub.Predict(good, timeout=60).outputs['energy'] == first


def printed_commands():
    """The commands of the client, and of curl, in docs/serving.md."""
    lines = (DOCS / 'serving.md').read_text().splitlines()
    return [line.strip() for line in lines if re.match(r'    (python docs/serving/client.py|curl) ', line)]


def test_the_printed_commands_work_as_printed(served, tmp_path):
    """In order, in one directory, but for the ports."""
    (tmp_path / 'docs').symlink_to(DOCS)
    commands = printed_commands()
    assert len(commands) >= 7
    said = []
    for command in commands:
        command = command.replace(':8500', f':{served[0]}').replace(':8501', f':{served[1]}')
        if '--grpc' not in command and 'client.py' in command:
            command += f' --rest=http://localhost:{served[1]}'
        words = shlex.split(command)
        words[:1] = [sys.executable] if words[0] == 'python' else ['curl', '-s', '-S', '--fail']
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (command, done.stderr[-2000:])
        said.append(done.stdout)
    assert said[0].split('\n')[:2] == ['version 2: AVAILABLE', 'version 1: AVAILABLE']
    assert said[1] == '16 images in samples\n' and len(list((tmp_path / 'samples').iterdir())) == 16
    assert re.fullmatch(r'samples/00.png: -?[\d.e+]+\nsamples/01.png: -?[\d.e+]+\n', said[2])
    assert said[3] == '3 images in samples\n' and said[4] == '4 images in samples\n' and said[5].startswith('samples/00.png: ')
    assert np.array(json.loads(said[6])['outputs']).shape == (1, 8, 8, 1)


def test_the_client_says_what_is_wrong_in_one_line(served):
    client, rest = DOCS / 'serving' / 'client.py', f'--rest=http://localhost:{served[1]}'
    for arguments, words in (
        ([rest, '--model=nothing', 'sample'], '404'),
        ([rest, 'sample', '--num=21'], 'num_samples must be from 1 to 20'),
        ([rest, 'energy', DOCS / 'digits_data.png'], 'PNG files of 8 x 8 pixels'),
        ([rest, 'energy', 'nowhere.png'], 'nowhere.png'),
        ([f'--grpc=localhost:{served[0]}', 'sample', '--labels=10'], 'labels must be from -1 to 9'),
        (['--rest=http://localhost:1', 'sample'], 'does not answer'),
    ):
        done = run(client, *arguments)
        lines = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
        assert done.returncode == 1 and words in lines[0] and 'Traceback' not in done.stderr, done.stderr


def test_a_label_is_the_version_that_it_is_of(served):
    for label, code in (('stable', 200), ('canary', 200), ('beta', 400)):
        body = json.dumps({'inputs': {'seed': [0, 3], 'num_samples': 1}})
        response = requests.post(f'http://localhost:{served[1]}/v1/models/digits/labels/{label}:predict', data=body, timeout=60)
        assert (response.status_code == 200) == (code == 200), response.text


def test_models_config_is_what_the_server_reads():
    text = (DOCS / 'serving' / 'models.config').read_text()
    models = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert len(models) == 2 and dict(models[0].version_labels) == {'stable': 1, 'canary': 2}
