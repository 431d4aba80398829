"""What docs/serving.md and its files say, as far as no server is needed."""

import json
import re
import shlex
import subprocess

import pytest
import tensorflow as tf
from google.protobuf import text_format
from helpers.forks import run
from helpers.serving import DOCS, printed_commands, refused_by_client
from helpers.tiny import ROOT
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from drl_tf.runs import exported

pytestmark = pytest.mark.slow

WARM_UP = 'assets.extra/tf_serving_warmup_requests'

STAND_IN = ['-m', 'drl_tf.tools.model_server']

CONFIG = DOCS / 'serving' / 'models.config'


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


def test_models_config_is_what_the_server_reads():
    models = text_format.Parse(
        CONFIG.read_text(), model_server_config_pb2.ModelServerConfig()
    ).model_config_list.config
    assert [model.name for model in models] == exported.names()
    assert dict(models[0].version_labels) == {'stable': 1}


def test_the_stand_in_does_not_open_without_a_base_path(tmp_path):
    done = run(*STAND_IN, '--model_name=digits', f'--model_base_path={tmp_path}/no')
    assert done.returncode and f'Could not find base path {tmp_path}/no for servable digits' in done.stderr
