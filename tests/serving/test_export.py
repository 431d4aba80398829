"""The SavedModel in processes that have no drl_tf, through both loaders."""

import json

import numpy as np
import pytest
import tensorflow as tf
from helpers.forks import run

from drl_tf.base import pixels
from drl_tf.cli.main import main
from drl_tf.planning import memory
from drl_tf.runs import checkpoint
from drl_tf.serving import export
from drl_tf.serving.signatures import Export

LOAD = """
import sys
import numpy as np, tensorflow as tf
assert not any(name.startswith('drl_tf') for name in sys.modules)
x, out = np.load(sys.argv[2]), {}
inputs = dict(sample=('seed', 'num_samples'), energy=('images', 'level'), denoise=('images', 'level', 'seed'))

signatures = tf.saved_model.load(sys.argv[1]).signatures
for name, keys in inputs.items():
    found = signatures[name](**{key: tf.constant(x[key]) for key in keys})
    out.update({f'load/{name}_{key}': value.numpy() for key, value in found.items()})

with tf.compat.v1.Session(graph=tf.Graph()) as session:
    signatures = tf.compat.v1.saved_model.load(session, ['serve'], sys.argv[1]).signature_def
    assert set(signatures) >= {'serving_default', *inputs}
    assert list(signatures['serving_default'].outputs) == ['images']
    for name, keys in inputs.items():
        assert set(signatures[name].inputs) == {*keys}
        feed = {tensor.name: x[key] for key, tensor in signatures[name].inputs.items()}
        fetch = {f'v1/{name}_{key}': tensor.name for key, tensor in signatures[name].outputs.items()}
        out.update(session.run(fetch, feed))
    feed = {tensor.name: x[key] for key, tensor in signatures['sample'].inputs.items()}
    feed[signatures['sample'].inputs['num_samples'].name] = np.int32(0)
    try:
        session.run(signatures['sample'].outputs['images'].name, feed)
    except tf.errors.InvalidArgumentError as error:
        assert 'num_samples must be from 1 to 50' in str(error)
    else:
        raise AssertionError('num_samples = 0 was taken')
np.savez(sys.argv[3], **out)
"""


@pytest.fixture(scope='module')
def exported(tiny_run, tmp_path_factory):
    """The folder of a SavedModel made by the command line, beside a former version."""
    parent = tmp_path_factory.mktemp('saved_models') / 'digits'
    (parent / '1').mkdir(parents=True)
    assert (
        main(
            ['run.py', '--mode=export', f'--workdir={tiny_run}', f'--export_dir={parent}', '--max_samples=50']
        )
        == 0
    )
    assert sorted(path.name for path in parent.iterdir() if not path.name.startswith('.')) == ['1', '2']
    return parent / '2'


@pytest.fixture(scope='module')
def signatures(exported):
    return tf.saved_model.load(str(exported)).signatures


@pytest.fixture(scope='module')
def model(tiny_run):
    return checkpoint.load_model(tiny_run)[0]


@pytest.fixture(scope='module')
def request_data():
    images = np.random.default_rng(0).normal(size=(5, 16, 16, 1)).astype(np.float32)
    return {
        'images': images,
        'level': np.int32([0, 1, 2, 4, 5]),
        'seed': np.int32([11, 1]),
        'num_samples': np.int32(3),
    }


@pytest.fixture(scope='module')
def answers(exported, request_data, tmp_path_factory):
    """Returns the answers of a process without drl_tf, {'<loader>/<signature>_<output>': array}."""
    directory = tmp_path_factory.mktemp('answers')
    np.savez(directory / 'in.npz', **request_data)
    done = run('-I', '-c', LOAD, exported, directory / 'in.npz', directory / 'out.npz')
    assert done.returncode == 0, done.stderr
    return dict(np.load(directory / 'out.npz'))


@pytest.mark.slow
@pytest.mark.parametrize('loader', ['load', 'v1'])
def test_clean_process_gives_the_values_of_this_one(answers, model, request_data, loader):
    out = {name.removeprefix(f'{loader}/'): value for name, value in answers.items()}
    images, level, seed = (tf.constant(request_data[name]) for name in ('images', 'level', 'seed'))
    log_density = model.density_at(level)(images).numpy()
    np.testing.assert_allclose(out['energy_energy'], -log_density, rtol=1e-4)
    np.testing.assert_allclose(
        out['energy_network_output'], log_density * model.schedule.delta[level] ** 2, rtol=1e-4
    )
    x_t = model.denoise(images, level, seed)
    np.testing.assert_allclose(out['denoise_images'], x_t, atol=1e-3)
    samples = pixels.to_uint8(model.sample(3, seed)[-1])
    assert out['sample_images'].dtype == np.uint8 and out['sample_images'].shape == (3, 16, 16, 1)
    assert np.abs(out['sample_images'].astype(int) - samples).max() <= 1


def test_sample_does_not_depend_on_the_number(signatures):
    many, few = (
        signatures['sample'](seed=tf.constant([3, 4]), num_samples=tf.constant(n))['images']
        .numpy()
        .astype(int)
        for n in (17, 2)
    )
    assert np.abs(many[:2] - few).max() <= 1
    assert np.abs(many[0] - many[1]).max() > 1


@pytest.mark.parametrize(('signature', 'changes', 'message'), [
    ('energy', {'level': [0, 1, 2, 3, 6]}, 'level must be from 0 to 5'),
    ('energy', {'level': [0, 1, 2, 3, -1]}, 'level must be from 0 to 5'),
    ('energy', {'level': [0]}, 'equal lengths'),
    ('energy', {'images': np.full([5, 16, 16, 1], np.nan, np.float32)}, 'finite'),
    ('denoise', {'level': [0, 1, 2, 3, 6]}, 'level must be from 0 to 5'),
    ('denoise', {'images': np.full([5, 16, 16, 1], np.inf, np.float32)}, 'finite'),
    ('energy', {'images': np.zeros([0, 16, 16, 1], np.float32), 'level': []}, 'number of images must be '
                                                                              'from 1 to 50'),
    ('energy', {'images': np.full([5, 16, 16, 1], 1e38, np.float32)}, 'finite'),
    ('denoise', {'images': np.zeros([51, 16, 16, 1], np.float32), 'level': [0] * 51}, 'number of images '
                                                                                      'must be from 1 to 50'),
    ('sample', {'num_samples': 0}, 'num_samples must be from 1 to 50'),
    ('sample', {'num_samples': 51}, 'num_samples must be from 1 to 50'),
])  # fmt: skip
def test_wrong_requests(signatures, request_data, signature, changes, message):
    function = signatures[signature]
    names = function.structured_input_signature[1]
    feed = {
        name: tf.constant(changes.get(name, request_data[name]), spec.dtype) for name, spec in names.items()
    }
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        function(**feed)


def test_a_request_has_as_many_images_as_fit_where_nothing_is_said(model, monkeypatch):
    assert export.most_images(model) == 1024
    monkeypatch.setattr(export, 'REQUEST_BYTES', 7.5 * memory.chain_bytes_per_image(model))
    assert export.most_images(model) == 7
    monkeypatch.setattr(export, 'REQUEST_BYTES', 1)
    assert export.most_images(model) == 1


def test_export_is_float32_and_described(exported, tiny_run):
    note = json.loads((exported / 'assets.extra' / 'drl_tf.json').read_text())
    assert (note['max_samples'], note['checkpoint_step'], note['mcmc_steps']) == (50, 32, [3])
    dtypes = {dtype for _, dtype in (v for v in _variables(exported))}
    assert tf.bfloat16 not in dtypes and tf.float32 in dtypes


def _variables(path):
    reader = tf.train.load_checkpoint(str(path / 'variables' / 'variables'))
    return reader.get_variable_to_dtype_map().items()


def test_raw_and_averaged_weights_differ(model):
    x, level = tf.ones([1, 16, 16, 1]), tf.constant([2])
    raw, ema = (
        module.energy(x, level)['energy']
        for module in [Export(model, 1, weights) for weights in ('raw', 'ema')]
    )
    assert np.abs(raw - ema).max() > 1e-3
