"""An export as a server meets it: loaded by the v1 Session, asked by requests of TensorFlow Serving's own
protos."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.forks import run
from helpers.serving import inputs
from helpers.tiny import ROOT
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

import drl_tf
from drl_tf.core import noise
from drl_tf.serving.requests import decode_png
from drl_tf.serving.signatures import Export

pytestmark = pytest.mark.slow

OF_ALL = ('seed', 'between')  # Inputs of two numbers, whatever the number of images.
AT_ONCE = 8
COUNT = 17
CLEAN = f"""
import concurrent.futures, pathlib, sys, threading
import numpy as np
import model_server_models as models

version = models.Version(pathlib.Path(sys.argv[1]))
assert version.warmed_up == len(version.signatures)
requests = dict()
with np.load(sys.argv[2]) as x:
    for key in x.files:
        signature, tag, name = key.split(' ')
        requests.setdefault((signature, tag), dict())[name] = x[key]
barrier = threading.Barrier({AT_ONCE})

def ask(asked):
    signature, tag = asked
    if tag.startswith('at_once'):
        barrier.wait()
    try:
        return version.predict(models.request_of(signature, requests[asked]))
    except models.Refused as error:
        return dict(refused=np.array(str(error)))

together = [asked for asked in requests if asked[1].startswith('at_once')]
with concurrent.futures.ThreadPoolExecutor({AT_ONCE}) as pool:
    found = dict(zip(together, pool.map(ask, together)))
found |= dict((asked, ask(asked)) for asked in requests if asked not in found)
answers = dict()
for (signature, tag), outputs in found.items():
    for name, value in outputs.items():
        key = ' '.join((signature, tag, name))
        answers[key] = value.astype(bytes) if value.dtype == object else value
assert not any(name.split('.')[0] == 'drl_tf' for name in sys.modules)
np.savez(sys.argv[3], **answers)
"""


@pytest.fixture(scope='module')
def model(whole_export):
    """The exported model, in this process."""
    return drl_tf.EnergyModel.from_preset(str(whole_export)).model


@pytest.fixture(scope='module')
def signatures(whole_export):
    """{name: `SignatureDef`} of the export."""
    content = (whole_export / 'saved_model.pb').read_bytes()
    found = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def
    return {name: signature for name, signature in found.items() if not name.startswith('__')}


def entering(model, x, level):
    """m_t A_t x, or A_0 x where there is no level."""
    schedule = model.schedule
    scale = schedule.A[0] if level is None else (schedule.m * schedule.A[:-1])[level][:, None, None, None]
    return tf.cast(scale, tf.float32) * x


def answer_of(expected, model, name, given):
    """{output: value} of an `Export` of a model for a signature; PNG files are decoded first."""
    tensors = {key: tf.constant(value) for key, value in given.items()}
    if 'images_bytes' in given:
        x, level = decode_png(tensors.pop('images_bytes'), (8, 8, 1)), given.get('level')
        as_they_are = name in ('denoise', 'inpaint', 'score')
        tensors['images'] = x if as_they_are else entering(model, x, level)
    return {key: value.numpy() for key, value in getattr(expected, name)(**tensors).items()}


def wanted_and_fed(model, signatures):
    """For every signature, of 17 arrays, of the first of these alone, or of 17 files: {'signature count
    output': value}, as the model itself answers, and {'signature count input': value}."""
    wanted, feeds, found = {}, {}, {}
    expected = Export(model, 20, log_z=(100.25, 103.5))
    for name, signature in signatures.items():
        given = inputs(COUNT, signature.inputs)
        function = name.removesuffix('_bytes').replace('serving_default', 'sample')
        case = function, 'images_bytes' in given  # Signatures that take no images draw the same as files.
        if case not in found:
            found[case] = answer_of(expected, model, function, given)
        for number in (COUNT,) if name.endswith('_bytes') else (1, COUNT):
            feeds |= fed(name, number, first_of(number, given))
            wanted |= {f'{name} {number} {key}': value[:number] for key, value in found[case].items()}
    return wanted, feeds


def fed(signature, tag, values):
    """{'signature tag input': value} of a request."""
    return {
        f'{signature} {tag} {key}': value.astype(bytes) if value.dtype == object else value
        for key, value in values.items()
    }


def first_of(number, given):
    """The request for the first images of a larger one."""
    rows = {key: value[:number] for key, value in given.items() if key not in OF_ALL and value.shape}
    return {**given, **rows, **({'num_samples': np.int32(number)} if 'num_samples' in given else {})}


CHANGED = inputs(3, ('images', 'images_bytes', 'missing', 'position')) | {
    'seed': np.int32(noise.root(5, noise.SAMPLING)),
    'between': np.int32([3, 7]),
    'num_samples': np.int32(10),
}
WRONG = {'images': CHANGED['images'] * 9, 'missing': CHANGED['missing'][:1]}


def requests_of_changes():
    """Requests to inpaint and interpolate, with the samples that they are compared with; two wrong ones."""
    taken = {
        'inpaint': ('images', 'missing', 'seed'),
        'inpaint_bytes': ('images_bytes', 'missing', 'seed'),
        'sample': ('seed', 'num_samples'),
        'interpolate': ('seed', 'between', 'position'),
    }
    feeds = {}
    for name, keys in taken.items():
        feeds |= fed(name, 'changed', {key: CHANGED[key] for key in keys})
    for key, value in WRONG.items():
        good = {name: CHANGED[name] for name in taken['inpaint']}
        feeds |= fed('inpaint', f'wrong_{key}', {**good, key: value})
    return feeds


def requests_at_once():
    """Requests for samples with two seeds, which the clean process answers at the same time."""
    feeds = {}
    for index in range(AT_ONCE):
        seed = np.int32([4 if index % 4 == 3 else 3, 3])
        feeds |= fed('sample', f'at_once_{index}', {'seed': seed, 'num_samples': np.int32(9)})
    return feeds


@pytest.fixture(scope='module')
def answers_and_wanted(whole_export, model, signatures, tmp_path_factory):
    """{'signature tag output': answer} of a process without drl_tf, and what is wanted of every signature."""
    root = tmp_path_factory.mktemp('clean')
    wanted, feeds = wanted_and_fed(model, signatures)
    np.savez(root / 'in.npz', **feeds, **requests_of_changes(), **requests_at_once())
    tools = ROOT / 'drl_tf' / 'tools'
    done = run('-c', CLEAN, whole_export, root / 'in.npz', root / 'out.npz', cwd=tools)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(root / 'out.npz') as file:
        return {name: file[name] for name in file.files}, wanted


@pytest.fixture(scope='module')
def answers(answers_and_wanted):
    return answers_and_wanted[0]


def test_a_clean_process_gives_the_numbers_of_this_one(answers_and_wanted, signatures):
    """Every signature through the v1 loader, which answers the warm-up requests first."""
    answers, wanted = answers_and_wanted
    assert {
        'serving_default',
        'sample_bytes',
        'energy_class_bytes',
        'denoise_bytes',
        'log_likelihood',
        'score',
        'score_bytes',
    } <= set(signatures)
    compared = set()
    for key, answer in answers.items():
        if not key.split(' ')[1].isdecimal():
            continue
        if key.endswith('_bytes'):
            grey = np.stack([tf.io.decode_png(file).numpy() for file in answer]).astype(int)
            key = key.replace('images_bytes', 'images')
            value = wanted[key]
            value = np.clip(np.round((value + 1) * 127.5), 0, 255) if value.dtype == np.float32 else value
            assert np.abs(grey - value.astype(int)).max() <= 1, key
        elif key.endswith(' images') and answer.dtype == np.uint8:
            assert np.abs(answer.astype(int) - wanted[key]).max() <= 1, key
        else:
            value = wanted[key]
            np.testing.assert_allclose(answer, value, rtol=1e-4, atol=1e-4 * np.abs(value).max(), err_msg=key)
        compared.add(key)
    assert compared == set(wanted)


def test_seen_pixels_and_the_ends_between_two_samples_stay_as_they_are(whole_export, answers):
    """Seen pixels keep their bits, missing ones are those of the loaded model, and the images at the places 0
    and 1 are the samples."""
    images, seen = CHANGED['images'], ~CHANGED['missing']
    filled = answers['inpaint changed images']
    np.testing.assert_array_equal(filled[seen], images[seen])
    expected = drl_tf.EnergyModel.from_preset(whole_export).inpaint(images, CHANGED['missing'], seed=5)
    np.testing.assert_allclose(filled, expected, atol=2e-3)
    files = answers['inpaint_bytes changed images_bytes']
    levels, found = (
        np.stack([tf.io.decode_png(file).numpy() for file in each])
        for each in (CHANGED['images_bytes'], files)
    )
    np.testing.assert_array_equal(found[seen], levels[seen])
    ends = answers['sample changed images'][CHANGED['between']].astype(int)
    between = answers['interpolate changed images']
    assert np.abs(between[[0, 2]].astype(int) - ends).max() <= 1
    for key in WRONG:
        assert 'images' in str(answers[f'inpaint wrong_{key} refused'])


def test_likelihoods_are_energies_with_log_z(model, answers):
    """log p(x_0) = F(m_0 x_0, 0) - log Z_0 + D log m_0, with log Z_0 from 100.25 to 103.5."""
    images = inputs(COUNT, ('images',))['images']
    m_0 = model.schedule.m[0]
    log_density = model.density_at(tf.zeros([COUNT], tf.int32))(
        m_0.astype(np.float32) * images
    ).numpy() + 64 * np.log(m_0)
    low, high = (answers[f'log_likelihood {COUNT} {name}'] for name in ('low', 'high'))
    np.testing.assert_allclose(low, log_density - 103.5, rtol=1e-4)
    np.testing.assert_allclose(high, log_density - 100.25, rtol=1e-4)
    np.testing.assert_allclose(high - low, 3.25, rtol=1e-2)


def test_warm_up_requests_are_those_of_every_signature(whole_export, signatures):
    path = whole_export / 'assets.extra' / 'tf_serving_warmup_requests'
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(path))
    ]
    found = [log.predict_log.request for log in logs]
    assert sorted(one.model_spec.signature_name for one in found) == sorted(signatures)
    for one in found:
        signature = signatures[one.model_spec.signature_name]
        assert {key: tensor.dtype for key, tensor in one.inputs.items()} == {
            key: info.dtype for key, info in signature.inputs.items()
        }
        assert all(
            tf.make_ndarray(one.inputs[key]).shape[:1] == (1,)
            for key in one.inputs
            if key not in ('seed', 'num_samples', 'guidance', 'between')
        )


def test_concurrent_calls_with_one_seed_give_the_same_images(answers):
    images = [answers[f'sample at_once_{index} images'].astype(int) for index in range(AT_ONCE)]
    assert np.ptp(images[0]) > 0 and np.abs(images[0] - images[3]).max() > 1
    for index in range(AT_ONCE):
        assert np.abs(images[index] - images[index // 4 * 4 if index % 4 < 3 else 3]).max() <= 1
