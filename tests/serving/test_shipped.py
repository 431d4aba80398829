"""The models that come with the package: each signature in a process that has no drl_tf, as a server loads
it. Other batch sizes are asked of a smaller export in test_serving.py."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from helpers.forks import run

import drl_tf
from drl_tf.base import pixels
from drl_tf.core.diffusion import at
from drl_tf.core.guidance import UNCONDITIONAL, guided
from drl_tf.runs import exported, pictures
from drl_tf.serving import changes

pytestmark = pytest.mark.slow

SIZES = (3,)
ANSWER = """
import sys
import numpy as np, tensorflow.compat.v1 as tf
assert not any(name.startswith('drl_tf') for name in sys.modules)
requests, answers = np.load(sys.argv[2]), {}
with tf.Session(graph=tf.Graph()) as session:
    signatures = tf.saved_model.load(session, ['serve'], sys.argv[1]).signature_def
    for name, signature in signatures.items():
        if not name.startswith('__'):
            for size in map(int, sys.argv[4:]):
                feed = {tensor.name: requests[f'{size}/{key}'] for key, tensor in signature.inputs.items()}
                found = session.run({key: tensor.name for key, tensor in signature.outputs.items()}, feed)
                answers.update({f'{size}/{name}/{key}': value for key, value in found.items()})
np.savez(sys.argv[3], **{key: value.astype('S') if value.dtype == object else value for key, value in
answers.items()})
"""


def request(model, size):
    """A value for every input that a signature may have."""
    rng = np.random.default_rng(size)
    grey = rng.integers(0, 256, [size, *model.image_shape]).astype(np.uint8)
    return {
        'images': rng.uniform(-1, 1, grey.shape).astype(np.float32),
        'images_bytes': np.array(
            [tf.io.encode_png(each).numpy() for each in grey] if grey.shape[-1] != 2 else [], 'S'
        ),
        'level': rng.integers(0, model.num_levels, size).astype(np.int32),
        'labels': rng.integers(-1, max(model.num_classes, 1), size).astype(np.int32),
        'seed': np.int32([7, size]),
        'num_samples': np.int32(size),
        'guidance': np.float32(0.5),
        'missing': rng.random([size, *model.image_shape[:2], 1]) < 0.5,
        'between': np.int32([0, size]),
        'position': np.linspace(0, 1, size, dtype=np.float32),
    }


def expected(model, asked, log_z):
    """What the model says itself, {signature: {output: value}}; of files the pixels."""
    core, schedule = model.model, model.model.schedule
    level, seed, size = tf.constant(asked['level']), tf.constant(asked['seed']), int(asked['num_samples'])
    terms = guided(tf.constant(asked['labels'] + 1), 0.5) if model.num_classes else None

    def energy(y, terms=UNCONDITIONAL):
        log_density = core.density_at(level, terms=terms)(y)
        return {
            'energy': -log_density,
            'network_output': log_density / tf.gather(tf.constant(core.precision, tf.float32), level),
        }

    def sample(terms=UNCONDITIONAL):
        return {'images': pictures.kept(core.sample(size, seed, terms=terms)[-1].numpy())}

    def denoise(x):
        return {'images': core.denoise(x, level, seed).numpy()}

    @tf.function
    def filled(images):
        return changes.inpaint(core, images, asked['missing'], seed, 'ema', None)['images']

    def inpaint(images):
        return {'images': filled(tf.constant(images)).numpy()}

    found = {'sample': sample(), 'energy': energy(asked['images']), 'denoise': denoise(asked['images'])}
    found['serving_default'] = found['sample']
    if terms:
        found |= {'sample_class': sample(terms), 'energy_class': energy(asked['images'], terms)}

    def log_likelihood(x_0):
        m_0 = schedule.m[0]
        log_density = core.density_at(tf.zeros([size], tf.int32))(np.float32(m_0 * x_0)).numpy()
        log_density += np.log(m_0) * x_0[0].size
        return {'low': log_density - max(log_z), 'high': log_density - min(log_z)}

    if log_z:
        found['log_likelihood'] = log_likelihood(asked['images'])
    if len(asked['images_bytes']):
        x = (
            np.stack([tf.io.decode_png(file).numpy() for file in asked['images_bytes']]) / np.float32(127.5)
            - 1
        )
        y = at(schedule.m * schedule.A[:-1], level) * x
        found |= {'sample_bytes': found['sample'], 'energy_bytes': energy(y)}
        if log_z:
            found['log_likelihood_bytes'] = log_likelihood(schedule.A[0] * x)
        found['denoise_bytes'] = {'images': pixels.to_uint8(denoise(x)['images'])}
        found['inpaint'] = inpaint(asked['images'])
        found['inpaint_bytes'] = {'images': pixels.to_uint8(inpaint(x.astype(np.float32))['images'])}
        found['interpolate'] = {
            'images': changes.interpolate(core, seed, asked['between'], asked['position'], 'ema', None)[
                'images'
            ].numpy()
        }
        found['interpolate_bytes'] = found['interpolate']
        if terms:
            found |= {'sample_class_bytes': found['sample_class'], 'energy_class_bytes': energy(y, terms)}
    return found


def assert_alike(answer, value, scale, key):
    """Energies element by element: of f, which `scale` makes them from, 1e-4 of its size, and 1e-6 where it
    is small."""
    np.testing.assert_allclose(answer / scale, value / scale, rtol=1e-4, atol=1e-6, err_msg=key)


def assert_scores(answers, asked, model, size):
    """The signature `score` of clean images answers as `EnergyModel.anomaly_scores` does."""
    images = {'score': asked['images']}
    if len(asked['images_bytes']):
        files = [tf.io.decode_png(file).numpy() for file in asked['images_bytes']]
        images['score_bytes'] = np.stack(files)
    for signature, given in images.items():
        scores = model.anomaly_scores(given)
        for name in ('energy', 'gradient', 'maps', 'log_prob'):
            value, key = getattr(scores, name), f'{size}/{signature}/{name}'
            if value is not None:
                np.testing.assert_allclose(answers[key], value, rtol=1e-3, atol=1e-4 * np.abs(value).max())


@pytest.mark.parametrize('name', exported.names())
def test_every_signature_in_a_clean_process(name, tmp_path):
    model = drl_tf.EnergyModel.from_preset(name)
    requests = {size: request(model, size) for size in SIZES}
    np.savez(
        tmp_path / 'requests.npz',
        **{f'{size}/{key}': value for size in SIZES for key, value in requests[size].items()},
    )
    done = run(
        '-I',
        '-c',
        ANSWER,
        exported.find(name),
        tmp_path / 'requests.npz',
        tmp_path / 'answers.npz',
        *map(str, SIZES),
    )
    assert done.returncode == 0, done.stderr
    log_z = json.loads((pathlib.Path(exported.find(name)) / exported.DESCRIPTION).read_text()).get('log_z')
    answers, compared = np.load(tmp_path / 'answers.npz'), set()
    for size in SIZES:
        if f'{size}/score/energy' in answers:
            assert_scores(answers, requests[size], model, size)
            compared |= {key for key in answers if key.split('/')[1] in ('score', 'score_bytes')}
        for signature, outputs in expected(model, requests[size], log_z).items():
            for output, value in outputs.items():
                key = f'{size}/{signature}/{output}'
                key = key if key in answers else f'{key}_bytes'
                answer = answers[key]
                compared.add(key)
                if answer.dtype.kind == 'S':
                    answer = np.stack([tf.io.decode_png(file).numpy() for file in answer])
                assert answer.shape == value.shape and len(answer) == size, key
                answer, value = answer.astype(float), np.asarray(value, float)
                if 'images' in output:  # Chains carry rounding on: seldom by more than a grey level.
                    apart = np.abs(answer - value) / (1 if np.ptp(value) > 10 else 2 / 255)
                    assert np.mean(apart > 1) < 0.01 and apart.max() < 10, (key, apart.max())
                else:
                    level = {'energy': requests[size]['level'], 'low': 0, 'high': 0}.get(output)
                    scale = 1 if level is None else model.model.precision[level]
                    assert_alike(answer, value, scale, key)
    assert compared == set(answers)


def test_there_are_images_classes_and_points():
    configs = [exported.load_config(exported.find(name)) for name in exported.names()]
    assert len(configs) >= 2
