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
import struct
import subprocess
import sys

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from google.protobuf import text_format
from helpers.serving import inputs, serving
from helpers.tiny import ROOT, run
from tensorflow_serving.apis import prediction_log_pb2, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from drl_tf.runs import exported
from drl_tf.tools.model_server_models import request_of

pytestmark = pytest.mark.slow

DOCS = ROOT / 'docs'
WARM_UP = 'assets.extra/tf_serving_warmup_requests'
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
def served(request, small_export, tmp_path_factory):
    """Ports of a server of the small export with a second version, which docs/serving/models.config says how
    to add."""
    root, text = tmp_path_factory.mktemp('served'), CONFIG.read_text()
    for path in ('digits/1', 'digits/2', 'toy_checkerboard/1'):
        shutil.copytree(small_export, root / path)
        if path != 'digits/1':  # To answer the same requests again would take time alone.
            (root / path / WARM_UP).unlink()
    for old, new in TWO_VERSIONS.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    with serving_config(request.param, text.replace("'/models/", f"'{root}/"), root) as ports:
        yield ports


@pytest.fixture(scope='module', params=SERVERS)
def shipped(request, tmp_path_factory):
    """Ports of a server of `saved_models/` as docs/serving/models.config has it."""
    text = CONFIG.read_text().replace("'/models/", f"'{ROOT}/saved_models/")
    with serving_config(request.param, text, tmp_path_factory.mktemp('shipped')) as ports:
        yield ports


def test_malformed_requests_get_a_message_and_the_next_one_an_answer(served):
    url = f'http://localhost:{served[1]}/v1/models/digits'
    good = json.loads(body_of(GOOD))
    good['inputs']['images_bytes'] = [
        {'b64': base64.b64encode(tf.io.encode_png(np.full([8, 8, 1], 200, np.uint8)).numpy()).decode()}
    ]

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


def test_malformed_requests_over_grpc(served):
    good = request_of('energy', inputs(3, ('images', 'level')))
    bad = [
        (
            request_of(
                'energy', {'images': np.zeros([3, 8, 8, 1], np.float64), 'level': np.int32([0, 0, 0])}
            ),
            '',
        ),
        (
            request_of(
                'energy', {'images': np.zeros([3, 8, 8, 3], np.float32), 'level': np.int32([0, 0, 0])}
            ),
            'shape',
        ),
        (
            request_of(
                'energy', {'images': np.zeros([21, 8, 8, 1], np.float32), 'level': np.zeros(21, np.int32)}
            ),
            'from 1 to 20',
        ),
        (
            request_of('energy', {'images': np.full([1, 8, 8, 1], 3e38, np.float32), 'level': np.int32([0])}),
            'not finite',
        ),
        (
            request_of('denoise', {'images': np.zeros([1, 8, 8, 1], np.float32), 'level': np.int32([0])}),
            'seed',
        ),
        (
            request_of('sample', {'seed': np.int32([1, 2]), 'num_samples': np.int32(1), 'more': np.int32(1)}),
            'more',
        ),
    ]
    with grpc.insecure_channel(f'localhost:{served[0]}') as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        first = stub.Predict(good, timeout=60).outputs['energy']
        for request, words in bad:
            with pytest.raises(grpc.RpcError) as error:
                stub.Predict(request, timeout=60)
            assert (
                error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and words in error.value.details()
            ), error.value
            assert stub.Predict(good, timeout=60).outputs['energy'] == first


def printed_commands(*programs):
    """The commands of these programs in docs/serving.md."""
    lines = (DOCS / 'serving.md').read_text().splitlines()
    return [line.strip() for line in lines if re.match(rf'    ({"|".join(programs)}) ', line)]


def test_the_printed_commands_work_as_printed(shipped, tmp_path):
    """In order, in one directory, but for the ports."""
    (tmp_path / 'docs').symlink_to(DOCS)
    served, commands = shipped, printed_commands('python docs/serving/client.py', 'curl')
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
    assert said[0] == 'version 1: AVAILABLE\n'
    assert said[1] == '16 images in samples\n' and len(list((tmp_path / 'samples').iterdir())) == 16
    assert re.fullmatch(r'samples/00.png: -?[\d.e+]+\nsamples/01.png: -?[\d.e+]+\n', said[2])
    assert (
        said[3] == '3 images in samples\n'
        and said[4] == '4 images in samples\n'
        and said[5].startswith('samples/00.png: ')
    )
    assert np.array(json.loads(said[6])['outputs']).shape == (1, 16, 16, 1)


def test_the_printed_copy_for_batching_has_no_warm_up_requests(tmp_path):
    """It is the model, and what most of the warm-up requests hold could not be put together along a first
    axis."""
    (tmp_path / 'docs').symlink_to(DOCS)
    (tmp_path / 'saved_models').symlink_to(ROOT / 'saved_models')
    for command in printed_commands('mkdir', 'cp', 'rm'):
        subprocess.run(shlex.split(command), cwd=tmp_path, check=True)
    original, copy = (
        ROOT / 'saved_models' / 'digits' / '1',
        tmp_path / 'runs' / 'served' / 'digits_scores' / '1',
    )
    files = {str(path.relative_to(original)) for path in original.rglob('*') if path.is_file()}
    assert {str(path.relative_to(copy)) for path in copy.rglob('*') if path.is_file()} == (
        files - {WARM_UP}
    ) | {'batching_params.pbtxt'}
    most = int(
        re.search(r'max_batch_size \{ value: (\d+) \}', (copy / 'batching_params.pbtxt').read_text())[1]
    )
    assert 1 <= most <= json.loads((copy / 'assets.extra' / 'drl_tf.json').read_text())['max_samples']
    records = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(original / WARM_UP))
    ]
    shapes = [
        [tf.make_ndarray(tensor).shape[:1] for tensor in record.predict_log.request.inputs.values()]
        for record in records
    ]
    assert sum(len({*each}) > 1 for each in shapes) > len(records) / 2


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


def refused_by_client(code, *arguments):
    """The one line with which the client ends."""
    done = run(DOCS / 'serving' / 'client.py', *arguments)
    lines = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert done.returncode == code and len(lines) == 1 and 'Traceback' not in done.stderr, done.stderr
    return lines[0]


def test_the_status_over_grpc_is_that_over_rest(served):
    over_rest, over_grpc = (
        run(DOCS / 'serving' / 'client.py', way, 'status')
        for way in (f'--rest=http://localhost:{served[1]}', f'--grpc=localhost:{served[0]}')
    )
    assert over_grpc.stdout == over_rest.stdout == 'version 2: AVAILABLE\nversion 1: AVAILABLE\n'


@pytest.mark.parametrize(('arguments', 'words'), [
    (['sample', '--labels=3,x'], '--labels: 3,x must be whole numbers, comma-separated'),
    (['sample', '--labels=3,,8'], '--labels: 3,,8 must be'),
    (['sample', '--labels='], '--labels'),
    (['sample', '--guidance=0'], '--guidance needs --labels'),
    (['sample', '--num=3', '--labels=1'], '--num and --labels'),
    (['sample', '--level=0'], '--level is for energy, not for sample'),
    (['sample', 'a.png'], 'files are for energy, not for sample'),
    (['energy', '--seed=0', 'a.png'], '--seed is for sample, not for energy'),
    (['energy'], 'energy needs PNG files'),
    (['status', '--out=x'], '--out is for sample, not for status'),
    (['--grpc=localhost:1', '--rest=http://localhost:1', 'status'], '--rest and --grpc'),
    (['sample', '--num=x'], "--num: invalid int value: 'x'"),
])  # fmt: skip
def test_a_wrong_command_of_the_client_is_one_line(arguments, words):
    assert words in refused_by_client(2, *arguments)


def test_what_int32_does_not_hold_is_refused_over_grpc_too():
    for arguments, words in (
        (['--seed=4294967296'], 'seed: 4294967296 is no whole number from'),
        ([f'--num={2**31}'], 'num_samples: 2147483648'),
        ([f'--labels=1,{-(2**31) - 1}'], 'labels: -2147483649'),
    ):
        assert words in refused_by_client(1, '--grpc=localhost:1', 'sample', *arguments)


def test_a_label_is_the_version_that_it_is_of(served):
    for label, code in (('stable', 200), ('canary', 200), ('beta', 400)):
        body = json.dumps({'inputs': {'seed': [0, 3], 'num_samples': 1}})
        response = requests.post(
            f'http://localhost:{served[1]}/v1/models/digits/labels/{label}:predict', data=body, timeout=60
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


def test_models_config_is_what_the_server_reads():
    models = text_format.Parse(
        CONFIG.read_text(), model_server_config_pb2.ModelServerConfig()
    ).model_config_list.config
    assert [model.name for model in models] == exported.names()
    assert dict(models[0].version_labels) == {'stable': 1}


def test_the_stand_in_does_not_open_without_a_base_path(tmp_path):
    done = subprocess.run(
        [*STAND_IN, '--model_name=digits', f'--model_base_path={tmp_path}/no'],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode and f'Could not find base path {tmp_path}/no for servable digits' in done.stderr
