"""A server of exported models, asked over REST and gRPC: malformed requests, and the commands that
docs/serving.md prints.

`model_server.py` is a stand-in that speaks the protocol. Where a `tensorflow_model_server` is on the PATH, it
is asked too.
"""

import base64
import json
import re
import shlex
import shutil
import subprocess
import sys

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from helpers.forks import run
from helpers.malformed import BAD, GOOD, body_of
from helpers.serving import DOCS, inputs, printed_commands, refused_by_client, serving
from helpers.tiny import ROOT
from tensorflow_serving.apis import prediction_service_pb2_grpc

from drl_tf.tools.model_server_models import request_of

pytestmark = pytest.mark.slow

# Warm-up requests are answered in test_serving.py; to answer them here would take time alone.
UNWARMED = shutil.ignore_patterns('tf_serving_warmup_requests')
REAL = shutil.which('tensorflow_model_server')

STAND_IN = [sys.executable, '-m', 'drl_tf.tools.model_server']
SERVERS = [
    pytest.param(STAND_IN, id='stand-in'),
    pytest.param(
        [REAL],
        id='tensorflow_model_server',
        marks=pytest.mark.skipif(not REAL, reason='no tensorflow_model_server here'),
    ),
]


CONFIG = DOCS / 'serving' / 'models.config'
TWO_VERSIONS = {
    'versions: 1': 'versions: 1 versions: 2',
    'value: 1 }': "value: 1 }\n    version_labels { key: 'canary' value: 2 }",
}


def serving_config(command, text, root):
    """As `serving`, of what a models.config says of `/models`, which is `root`."""
    config = root / 'models.config'
    config.write_text(text)
    return serving(
        command, root / 'log', model_config_file=config, allow_version_labels_for_unavailable_models='true'
    )


@pytest.fixture(scope='module', params=SERVERS)
def served(request, whole_export, small_export, tmp_path_factory):
    """Ports of a server of an export of energies with a second version, which has every signature;
    docs/serving/models.config says how to add it."""
    root, text = tmp_path_factory.mktemp('served'), CONFIG.read_text()
    versions = {'digits/1': small_export, 'digits/2': whole_export, 'toy_checkerboard/1': small_export}
    for path, version in versions.items():
        shutil.copytree(version, root / path, ignore=UNWARMED)
    for old, new in TWO_VERSIONS.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    with serving_config(request.param, text.replace("'/models/", f"'{root}/"), root) as ports:
        yield ports


@pytest.fixture(scope='module', params=SERVERS)
def shipped(request, tmp_path_factory):
    """Ports of a server of `saved_models/` as docs/serving/models.config has it."""
    root = tmp_path_factory.mktemp('shipped')
    shutil.copytree(ROOT / 'saved_models', root / 'models', ignore=UNWARMED)
    text = CONFIG.read_text().replace("'/models/", f"'{root}/models/")
    with serving_config(request.param, text, root) as ports:
        yield ports


def good_request():
    """A request for the energy of a file, as JSON has it."""
    good = json.loads(body_of(GOOD))
    file = tf.io.encode_png(np.full([8, 8, 1], 200, np.uint8)).numpy()
    good['inputs']['images_bytes'] = [{'b64': base64.b64encode(file).decode()}]
    return good


def test_malformed_requests_get_a_message_and_the_next_one_an_answer(served):
    url = f'http://localhost:{served[1]}/v1/models/digits'
    good = good_request()

    def energy():
        response = requests.post(f'{url}:predict', data=json.dumps(good), timeout=60)
        assert response.ok, response.text
        return response.json()['outputs']['energy']

    first = energy()
    for document, code, words in BAD:
        response = requests.post(f'{url}:predict', data=body_of(document), timeout=60)
        assert response.status_code == code and words in response.text and len(response.text) > 10, (
            document,
            response.text,
        )
        assert energy() == first
    for path in ('/v1/models/nothing:predict', '/v1/models/digits/versions/9:predict'):
        assert (
            requests.post(
                f'http://localhost:{served[1]}{path}', data=json.dumps(good), timeout=60
            ).status_code
            == 404
        )
    assert requests.post(f'{url}/labels/none:predict', data=json.dumps(good), timeout=60).status_code >= 400
    assert energy() == first


# (signature, its inputs, words of the message)
BAD_OVER_GRPC = [
    ('energy', {'images': np.zeros([3, 8, 8, 1], np.float64), 'level': np.zeros(3, np.int32)}, ''),
    ('energy', {'images': np.zeros([3, 8, 8, 3], np.float32), 'level': np.zeros(3, np.int32)}, 'shape'),
    (
        'energy',
        {'images': np.zeros([21, 8, 8, 1], np.float32), 'level': np.zeros(21, np.int32)},
        'from 1 to 20',
    ),
    (
        'energy',
        {'images': np.full([1, 8, 8, 1], 3e38, np.float32), 'level': np.zeros(1, np.int32)},
        'not finite',
    ),
    ('denoise', {'images': np.zeros([1, 8, 8, 1], np.float32), 'level': np.zeros(1, np.int32)}, 'seed'),
    ('sample', {'seed': np.int32([1, 2]), 'num_samples': np.int32(1), 'more': np.int32(1)}, 'more'),
]


def test_malformed_requests_over_grpc(served):
    good = request_of('energy', inputs(3, ('images', 'level')))
    with grpc.insecure_channel(f'localhost:{served[0]}') as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        first = stub.Predict(good, timeout=60).outputs['energy']
        for signature, given, words in BAD_OVER_GRPC:
            with pytest.raises(grpc.RpcError) as error:
                stub.Predict(request_of(signature, given), timeout=60)
            code, details = error.value.code(), error.value.details()
            assert code == grpc.StatusCode.INVALID_ARGUMENT and words in details, error.value
            assert stub.Predict(good, timeout=60).outputs['energy'] == first


def test_the_printed_commands_work_as_printed(shipped, tmp_path):
    """The commands of docs/serving.md run in order in one directory; only the ports differ."""
    (tmp_path / 'docs').symlink_to(DOCS)
    served, commands = shipped, printed_commands('python docs/serving/client.py', 'curl')
    assert len(commands) >= 7
    said = []
    for command in commands:
        command = command.replace(':8500', f':{served[0]}').replace(':8501', f':{served[1]}')
        if '--grpc' not in command and 'client.py' in command:
            command += f' --rest=http://localhost:{served[1]}'
        words = shlex.split(command)
        if words[0] == 'python':
            done = run(*words[1:], cwd=tmp_path)
        else:
            words[:1] = ['curl', '-s', '-S', '--fail']
            done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (command, done.stderr[-2000:])
        said.append(done.stdout)
    assert said[0] == 'version 1: AVAILABLE\n'
    assert said[1] == '16 images in samples\n' and len(list((tmp_path / 'samples').iterdir())) == 16
    assert re.fullmatch(r'samples/00.png: -?[\d.e+]+\nsamples/01.png: -?[\d.e+]+\n', said[2])
    assert (
        said[3] == '3 images in samples\n'
        and said[4] == '4 images in samples\n'
        and said[5].startswith('samples/00.png: ')
    )
    assert np.array(json.loads(said[6])['outputs']).shape == (1, 16, 16, 1)


def test_the_client_says_what_is_wrong_in_one_line(served):
    rest = f'--rest=http://localhost:{served[1]}'
    for arguments, words in (
        ([rest, '--model=nothing', 'sample'], '404'),
        ([rest, 'sample', '--num=21'], 'num_samples must be from 1 to 20'),
        ([rest, 'energy', DOCS / 'digits_data.png'], 'PNG files of 8 x 8 pixels'),
        ([rest, 'energy', 'nowhere.png'], 'nowhere.png'),
        ([f'--grpc=localhost:{served[0]}', 'sample', '--labels=10'], 'labels must be from -1 to 9'),
        ([f'--grpc=localhost:{served[0]}', '--model=nothing', 'status'], 'NOT_FOUND'),
        (['--rest=http://localhost:1', 'sample'], 'does not answer'),
    ):
        assert words in refused_by_client(1, *arguments)


def test_the_status_over_grpc_is_that_over_rest(served):
    over_rest, over_grpc = (
        run(DOCS / 'serving' / 'client.py', way, 'status')
        for way in (f'--rest=http://localhost:{served[1]}', f'--grpc=localhost:{served[0]}')
    )
    assert over_grpc.stdout == over_rest.stdout == 'version 2: AVAILABLE\nversion 1: AVAILABLE\n'


def test_a_label_is_the_version_that_it_is_of(served):
    for label, code in (('stable', 200), ('canary', 200), ('beta', 400)):
        response = requests.post(
            f'http://localhost:{served[1]}/v1/models/digits/labels/{label}:predict',
            data=json.dumps(good_request()),
            timeout=60,
        )
        assert (response.status_code == 200) == (code == 200), response.text


def test_a_label_and_a_model_of_the_shipped_config(shipped):
    body = json.dumps({'inputs': {'seed': [0, 3], 'num_samples': 1}})
    for path, code in (
        ('digits/labels/stable', 200),
        ('digits/labels/canary', 400),
        ('toy_checkerboard', 200),
    ):
        response = requests.post(
            f'http://localhost:{shipped[1]}/v1/models/{path}:predict', data=body, timeout=300
        )
        assert response.status_code == code, response.text
