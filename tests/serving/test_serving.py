"""An export as a server meets it: loaded by the v1 Session, asked by requests of TensorFlow Serving's own
protos, found by polling."""

import concurrent.futures
import pathlib
import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf
from helpers import golden
from helpers.forks import run
from helpers.serving import export_only, inputs
from helpers.tiny import ROOT
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

import drl_tf
from drl_tf.base.errors import UserError
from drl_tf.core import noise
from drl_tf.serving import export
from drl_tf.serving.requests import decode_png
from drl_tf.serving.signatures import Export
from drl_tf.tools import model_server_models
from drl_tf.tools.model_server_models import request_of

pytestmark = pytest.mark.slow

OF_ALL = ('seed', 'between')  # Inputs of two numbers, whatever the number of images.
CLEAN = """
import pathlib, sys
import numpy as np
import tensorflow.compat.v1 as tf
import model_server_models
from tensorflow_serving.apis import predict_pb2

version = model_server_models.Version(pathlib.Path(sys.argv[1]))
assert version.warmed_up == len(version.signatures)
out = {'signatures': sorted(version.signatures)}
with np.load(sys.argv[2]) as x:
    for key in x.files:
        signature, count, name = key.split(' ')
        request = out.setdefault((signature, count), predict_pb2.PredictRequest())
        request.model_spec.signature_name = signature
        request.inputs[name].CopyFrom(tf.make_tensor_proto(x[key]))
answers = {'signatures': out.pop('signatures')}
for (signature, count), request in out.items():
    for name, value in version.predict(request).items():
        answers[f'{signature} {count} {name}'] = value.astype(bytes) if value.dtype == object else value
assert not any(name.split('.')[0] == 'drl_tf' for name in sys.modules)
np.savez(sys.argv[3], **answers)
"""


@pytest.fixture(scope='module')
def model(whole_export):
    """The exported model, in this process."""
    return drl_tf.EnergyModel.from_preset(str(whole_export)).model


@pytest.fixture(scope='module')
def version(whole_export):
    """Loads the export in this process, without the warm-up requests, which the clean process answers."""
    return model_server_models.Version(whole_export, warm_up=False)


def entering(model, x, level):
    """m_t A_t x, or A_0 x where there is no level."""
    schedule = model.schedule
    scale = schedule.A[0] if level is None else (schedule.m * schedule.A[:-1])[level][:, None, None, None]
    return tf.cast(scale, tf.float32) * x


def wanted_and_fed(model, version):
    """For every signature, of 17 arrays, of the first of these alone, or of 3 files: {'signature count
    output': value}, as the model itself answers, and {'signature count input': value}."""
    wanted, feeds = {}, {}
    expected = Export(model, 20, log_z=(100.25, 103.5))
    for name, signature in version.signatures.items():
        count = 3 if name.endswith('_bytes') else 17
        given = inputs(count, signature.inputs)
        function = getattr(expected, name.removesuffix('_bytes').replace('serving_default', 'sample'))
        tensors = {key: tf.constant(value) for key, value in given.items()}
        if 'images_bytes' in given:
            x, level = decode_png(tensors.pop('images_bytes'), (8, 8, 1)), given.get('level')
            as_they_are = name in ('denoise_bytes', 'inpaint_bytes', 'score_bytes')
            tensors['images'] = x if as_they_are else entering(model, x, level)
        found = {key: value.numpy() for key, value in function(**tensors).items()}
        for number in (count,) if name.endswith('_bytes') else (1, count):
            asked = first_of(number, given)
            feeds |= {
                f'{name} {number} {key}': value.astype(bytes) if value.dtype == object else value
                for key, value in asked.items()
            }
            wanted |= {f'{name} {number} {key}': value[:number] for key, value in found.items()}
    return wanted, feeds


def first_of(number, given):
    """The request for the first images of a larger one."""
    rows = {key: value[:number] for key, value in given.items() if key not in OF_ALL and value.shape}
    return {**given, **rows, **({'num_samples': np.int32(number)} if 'num_samples' in given else {})}


def test_a_clean_process_gives_the_numbers_of_this_one(whole_export, model, version, tmp_path):
    """Every signature through the v1 loader, which answers the warm-up requests first."""
    wanted, feeds = wanted_and_fed(model, version)
    np.savez(tmp_path / 'in.npz', **feeds)
    tools = ROOT / 'drl_tf' / 'tools'
    done = run('-c', CLEAN, whole_export, tmp_path / 'in.npz', tmp_path / 'out.npz', cwd=tools)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / 'out.npz') as file:
        answers = {name: file[name] for name in file.files}
    assert {
        'serving_default',
        'sample_bytes',
        'energy_class_bytes',
        'denoise_bytes',
        'log_likelihood',
        'score',
        'score_bytes',
    } <= set(answers.pop('signatures'))
    for key, answer in answers.items():
        if key.endswith('_bytes'):
            grey = np.stack([tf.io.decode_png(file).numpy() for file in answer]).astype(int)
            value = wanted.pop(key.replace('images_bytes', 'images'))
            value = np.clip(np.round((value + 1) * 127.5), 0, 255) if value.dtype == np.float32 else value
            assert np.abs(grey - value.astype(int)).max() <= 1, key
        elif key.endswith(' images') and answer.dtype == np.uint8:
            assert np.abs(answer.astype(int) - wanted.pop(key)).max() <= 1, key
        else:
            value = wanted.pop(key)
            np.testing.assert_allclose(answer, value, rtol=1e-4, atol=1e-4 * np.abs(value).max(), err_msg=key)
    assert not wanted


def test_seen_pixels_and_the_ends_between_two_samples_stay_as_they_are(whole_export, version):
    """Seen pixels keep their bits, missing ones are those of the loaded model, and the images at the places 0
    and 1 are the samples."""
    given = inputs(3, ('images', 'images_bytes', 'missing', 'position'))
    given |= {'seed': np.int32(noise.root(5, noise.SAMPLING)), 'between': np.int32([3, 7])}

    def ask(name, *inputs):
        return version.predict(request_of(name, {key: given[key] for key in inputs}))

    images, seen = given['images'], ~given['missing']
    filled = ask('inpaint', 'images', 'missing', 'seed')['images']
    np.testing.assert_array_equal(filled[seen], images[seen])
    expected = drl_tf.EnergyModel.from_preset(whole_export).inpaint(images, given['missing'], seed=5)
    np.testing.assert_allclose(filled, expected, atol=2e-3)
    files = ask('inpaint_bytes', 'images_bytes', 'missing', 'seed')['images_bytes']
    levels, found = (
        np.stack([tf.io.decode_png(file).numpy() for file in each]) for each in (given['images_bytes'], files)
    )
    np.testing.assert_array_equal(found[seen], levels[seen])
    given['num_samples'] = np.int32(10)
    ends = ask('sample', 'seed', 'num_samples')['images'][given['between']].astype(int)
    between = ask('interpolate', 'seed', 'between', 'position')['images']
    assert np.abs(between[[0, 2]].astype(int) - ends).max() <= 1
    for wrong in ({'images': images * 9}, {'missing': given['missing'][:1]}):
        request = {key: given[key] for key in ('images', 'missing', 'seed')} | wrong
        with pytest.raises(model_server_models.Refused, match='images'):
            version.predict(request_of('inpaint', request))


def test_likelihoods_are_energies_with_log_z(model, version):
    """log p(x_0) = F(m_0 x_0, 0) - log Z_0 + D log m_0, with log Z_0 from 100.25 to 103.5."""
    given = inputs(5, ('images',))
    m_0 = model.schedule.m[0]
    log_density = model.density_at(tf.zeros([5], tf.int32))(
        m_0.astype(np.float32) * given['images']
    ).numpy() + 64 * np.log(m_0)
    found = version.predict(request_of('log_likelihood', given))
    np.testing.assert_allclose(found['low'], log_density - 103.5, rtol=1e-4)
    np.testing.assert_allclose(found['high'], log_density - 100.25, rtol=1e-4)
    np.testing.assert_allclose(found['high'] - found['low'], 3.25, rtol=1e-2)


def test_warm_up_requests_are_those_of_every_signature(whole_export, version):
    path = whole_export / 'assets.extra' / 'tf_serving_warmup_requests'
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(path))
    ]
    found = [log.predict_log.request for log in logs]
    assert sorted(one.model_spec.signature_name for one in found) == sorted(version.signatures)
    for one in found:
        signature = version.signatures[one.model_spec.signature_name]
        assert {key: tensor.dtype for key, tensor in one.inputs.items()} == {
            key: info.dtype for key, info in signature.inputs.items()
        }
        assert all(
            tf.make_ndarray(one.inputs[key]).shape[:1] == (1,)
            for key in one.inputs
            if key not in ('seed', 'num_samples', 'guidance', 'between')
        )


def test_concurrent_calls_with_one_seed_give_the_same_images(version):
    request = request_of('sample', {'seed': np.int32([3, 3]), 'num_samples': np.int32(9)})
    other = request_of('sample', {'seed': np.int32([4, 3]), 'num_samples': np.int32(9)})
    barrier = threading.Barrier(8)

    def ask(index):
        barrier.wait()
        return version.predict(other if index % 4 == 3 else request)['images'].astype(int)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        images = list(pool.map(ask, range(8)))
    assert np.ptp(images[0]) > 0 and np.abs(images[0] - images[3]).max() > 1
    for index in range(8):
        assert np.abs(images[index] - images[index // 4 * 4 if index % 4 < 3 else 3]).max() <= 1


def test_a_polling_server_sees_whole_versions_alone(small_export, tmp_path):
    """What is being written is no version; a partial one fails with a message while the one before it
    answers; then a sound one."""
    base, unwarmed = tmp_path / 'digits', shutil.ignore_patterns('tf_serving_warmup_requests')
    shutil.copytree(small_export, base / '1', ignore=unwarmed)
    model = model_server_models.Model(model_server_config_pb2.ModelConfig(name='digits', base_path=str(base)))
    model.poll()
    request = request_of('energy', inputs(1, ('images', 'level')))
    first = model.find(request.model_spec).predict(request)['energy']
    shutil.copytree(small_export, base / 'writing', ignore=unwarmed)
    (base / 'writing' / 'saved_model.pb').unlink()
    model.poll()
    assert list(model.versions) == [1] and not model.failures
    shutil.copytree(small_export, base / '2', ignore=unwarmed)
    (base / '2' / 'variables' / 'variables.index').unlink()
    model.poll()
    assert list(model.versions) == [1] and 'variables' in model.failures[2]
    assert model.find(request.model_spec).predict(request)['energy'] == first
    shutil.copytree(small_export, base / '3', ignore=unwarmed)
    model.poll()
    assert list(model.versions) == [3] and model.find(request.model_spec).predict(request)['energy'] == first


def test_a_version_is_named_when_it_is_whole(tmp_path, monkeypatch):
    """At the moment of the rename everything is there and sealed; an export that fails leaves no version."""
    export_only(monkeypatch, 'energy')
    loaded, seen = drl_tf.EnergyModel.from_preset(golden.DIRECTORY / 't6'), []
    rename = export.os.replace

    def watched(source, target):
        if pathlib.Path(target).name == '1':
            seen.extend(
                sorted(
                    str(path.relative_to(source))
                    for path in pathlib.Path(source).rglob('*')
                    if path.is_file()
                )
            )
        rename(source, target)

    monkeypatch.setattr(export.os, 'replace', watched)
    path = pathlib.Path(loaded.export(str(tmp_path / 'm')))
    assert seen == sorted(str(file.relative_to(path)) for file in path.rglob('*') if file.is_file())
    assert sorted(child.name for child in path.parent.iterdir()) == ['.lock', '1']

    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(export.seal, 'seal', fail)
    with pytest.raises(UserError, match='No space left'):
        loaded.export(str(tmp_path / 'm'))
    assert sorted(child.name for child in path.parent.iterdir()) == ['.lock', '1']
