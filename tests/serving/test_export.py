"""An export of the default recipe: its values, wrong requests, its description.

test_serving.py and test_shipped.py load exports in processes that have no drl_tf, through both loaders.
"""

import json

import numpy as np
import pytest
import tensorflow as tf
from helpers import golden
from helpers.serving import export_only

from drl_tf.base import pixels
from drl_tf.cli.main import main
from drl_tf.planning import memory
from drl_tf.runs import checkpoint
from drl_tf.serving import export
from drl_tf.serving.signatures import Export

T6 = golden.DIRECTORY / 't6'


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """The folder of a SavedModel of the small run of t6, made by the command line beside a former version."""
    parent = tmp_path_factory.mktemp('saved_models') / 'digits'
    (parent / '1').mkdir(parents=True)
    workdir = golden.copied('t6', parent.parent / 'run')
    words = ['--mode=export', f'--workdir={workdir}', f'--export_dir={parent}', '--max_samples=50']
    with pytest.MonkeyPatch.context() as patch:
        export_only(patch, 'sample', 'energy', 'denoise')
        assert main(['run.py', *words]) == 0
    assert sorted(path.name for path in parent.iterdir() if not path.name.startswith('.')) == ['1', '2']
    return parent / '2'


@pytest.fixture(scope='module')
def signatures(exported):
    return tf.saved_model.load(str(exported)).signatures


@pytest.fixture(scope='module')
def model():
    return checkpoint.load_model(str(T6))[0]


REQUEST = {
    'images': np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype(np.float32),
    'level': np.int32([0, 1, 1, 0, 1]),
    'seed': np.int32([11, 1]),
    'num_samples': np.int32(3),
}


def test_a_loaded_export_gives_the_values_of_the_model(signatures, model):
    given = {name: tf.constant(value) for name, value in REQUEST.items()}
    images, level, seed = (given[name] for name in ('images', 'level', 'seed'))
    log_density = model.density_at(level)(images).numpy()
    energy = signatures['energy'](images=images, level=level)
    np.testing.assert_allclose(energy['energy'], -log_density, rtol=1e-4)
    scale = model.schedule.delta[REQUEST['level']] ** 2
    np.testing.assert_allclose(energy['network_output'], log_density * scale, rtol=1e-4)
    x_t = signatures['denoise'](images=images, level=level, seed=seed)['images']
    np.testing.assert_allclose(x_t, model.denoise(images, level, seed), atol=1e-3)
    found = signatures['sample'](seed=seed, num_samples=given['num_samples'])['images'].numpy()
    samples = pixels.to_uint8(model.sample(3, seed)[-1])
    assert found.dtype == np.uint8 and found.shape == (3, 8, 8, 1)
    assert np.abs(found.astype(int) - samples).max() <= 1


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
    ('energy', {'level': [0, 1, 1, 0, 2]}, 'level must be from 0 to 1'),
    ('energy', {'level': [0, 1, 1, 0, -1]}, 'level must be from 0 to 1'),
    ('energy', {'level': [0]}, 'equal lengths'),
    ('energy', {'images': np.full([5, 8, 8, 1], np.nan, np.float32)}, 'finite'),
    ('denoise', {'level': [0, 1, 1, 0, 2]}, 'level must be from 0 to 1'),
    ('denoise', {'images': np.full([5, 8, 8, 1], np.inf, np.float32)}, 'finite'),
    ('energy', {'images': np.zeros([0, 8, 8, 1], np.float32), 'level': []}, 'number of images must be '
                                                                              'from 1 to 50'),
    ('energy', {'images': np.full([5, 8, 8, 1], 1e38, np.float32)}, 'finite'),
    ('denoise', {'images': np.zeros([51, 8, 8, 1], np.float32), 'level': [0] * 51}, 'number of images '
                                                                                      'must be from 1 to 50'),
    ('sample', {'num_samples': 0}, 'num_samples must be from 1 to 50'),
    ('sample', {'num_samples': 51}, 'num_samples must be from 1 to 50'),
])  # fmt: skip
def test_wrong_requests(signatures, signature, changes, message):
    function = signatures[signature]
    names = function.structured_input_signature[1]
    feed = {name: tf.constant(changes.get(name, REQUEST[name]), spec.dtype) for name, spec in names.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        function(**feed)


def test_a_request_has_as_many_images_as_fit_where_nothing_is_said(model, monkeypatch):
    assert export.most_images(model) == 1024
    monkeypatch.setattr(export, 'REQUEST_BYTES', 7.5 * memory.chain_bytes_per_image(model))
    assert export.most_images(model) == 7
    monkeypatch.setattr(export, 'REQUEST_BYTES', 1)
    assert export.most_images(model) == 1


def test_export_is_float32_and_described(exported):
    note = json.loads((exported / 'assets.extra' / 'drl_tf.json').read_text())
    assert (note['max_samples'], note['checkpoint_step'], note['mcmc_steps']) == (50, 4, [2])
    dtypes = {dtype for _, dtype in (v for v in _variables(exported))}
    assert tf.bfloat16 not in dtypes and tf.float32 in dtypes


def _variables(path):
    reader = tf.train.load_checkpoint(str(path / 'variables' / 'variables'))
    return reader.get_variable_to_dtype_map().items()


def test_raw_and_averaged_weights_differ(model):
    x, level = tf.ones([1, 8, 8, 1]), tf.constant([1])
    raw, ema = (
        module.energy(x, level)['energy']
        for module in [Export(model, 1, weights) for weights in ('raw', 'ema')]
    )
    assert np.abs(raw - ema).max() > 1e-3
