"""The models that come with the package: each signature in a process that has no drl_tf.

test_serving.py asks a smaller export for other batch sizes, loaded as a server loads it.
"""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from helpers.forks import run

import drl_tf
from drl_tf.base import pixels
from drl_tf.core import noise
from drl_tf.core.diffusion import at
from drl_tf.core.guidance import UNCONDITIONAL, guided
from drl_tf.core.sampling import Draw
from drl_tf.runs import exported, pictures
from drl_tf.serving import changes

pytestmark = pytest.mark.slow

SIZE = 3
ANSWER = """
import sys
import numpy as np, tensorflow as tf
requests, answers = np.load(sys.argv[2]), {}
for name, signature in tf.saved_model.load(sys.argv[1]).signatures.items():
    feed = {key: tf.constant(requests[key]) for key in signature.structured_input_signature[1]}
    answers.update({f'{name}/{key}': value.numpy() for key, value in signature(**feed).items()})
assert not any(name.startswith('drl_tf') for name in sys.modules)
np.savez(sys.argv[3], **{key: value.astype('S') if value.dtype == object else value for key, value in
answers.items()})
"""


def request(model):
    """A value for every input that a signature may have."""
    rng, size = np.random.default_rng(SIZE), SIZE
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
        'between': np.int32([0, size - 1]),
        'position': np.linspace(0, 1, size, dtype=np.float32),
    }


class Expected:
    """What the model says itself: outputs of the signatures, {output: value}."""

    def __init__(self, model, asked, log_z):
        self.public, self.model, self.asked, self.log_z = model, model.model, asked, log_z
        self.level, self.seed = tf.constant(asked['level']), tf.constant(asked['seed'])
        self.terms = guided(tf.constant(asked['labels'] + 1), 0.5) if model.num_classes else None

    def energy(self, y, terms=UNCONDITIONAL):
        log_density = self.model.density_at(self.level, terms=terms)(y)
        precision = tf.gather(tf.constant(self.model.precision, tf.float32), self.level)
        return {'energy': -log_density, 'network_output': log_density / precision}

    def sample(self, terms=UNCONDITIONAL):
        return {'images': pictures.kept(self.model.sample(SIZE, self.seed, Draw(terms=terms))[-1].numpy())}

    def denoise(self, x):
        return {'images': self.model.denoise(x, self.level, self.seed).numpy()}

    def inpaint(self, images):
        assert self.asked['seed'].tolist() == noise.root(7, noise.SAMPLING)
        return {'images': self.public.inpaint(images, self.asked['missing'], seed=7)}

    def interpolate(self):
        places = self.asked['between'], self.asked['position']
        return {'images': changes.interpolate(self.model, self.seed, *places, 'ema', None)['images'].numpy()}

    def log_likelihood(self, x_0):
        m_0 = self.model.schedule.m[0]
        log_density = self.model.density_at(tf.zeros([SIZE], tf.int32))(np.float32(m_0 * x_0)).numpy()
        log_density += np.log(m_0) * x_0[0].size
        return {'low': log_density - max(self.log_z), 'high': log_density - min(self.log_z)}

    def of_arrays(self):
        """{signature: {output: value}} of the signatures that take arrays."""
        images = self.asked['images']
        found = {'sample': self.sample(), 'energy': self.energy(images), 'denoise': self.denoise(images)}
        found['serving_default'] = found['sample']
        if self.terms:
            found['sample_class'] = self.sample(self.terms)
            found['energy_class'] = self.energy(images, self.terms)
        if self.log_z:
            found['log_likelihood'] = self.log_likelihood(images)
        if len(self.asked['images_bytes']):
            found |= {'inpaint': self.inpaint(images), 'interpolate': self.interpolate()}
        return found

    def of_files(self, found):
        """{signature: {output: value}} of those that take or give files, with the pixels of files.

        `found` is what `of_arrays` returns: signatures that take no images draw the same with files.
        """
        schedule, files = self.model.schedule, self.asked['images_bytes']
        if not len(files):
            return {}
        grey = decoded(files)
        x = grey / np.float32(127.5) - 1
        y = at(schedule.m * schedule.A[:-1], self.level) * x
        same = ('sample', 'sample_class', 'interpolate')
        more = {f'{name}_bytes': found[name] for name in same if name in found}
        more['energy_bytes'] = self.energy(y)
        more['denoise_bytes'] = {'images': pixels.to_uint8(self.denoise(x)['images'])}
        more['inpaint_bytes'] = self.inpaint(grey)
        if self.terms:
            more['energy_class_bytes'] = self.energy(y, self.terms)
        if self.log_z:
            more['log_likelihood_bytes'] = self.log_likelihood(schedule.A[0] * x)
        return more


def decoded(files):
    """The pixels of PNG files, uint8 [n, H, W, C]."""
    return np.stack([tf.io.decode_png(file).numpy() for file in files])


def assert_changes(answers, asked):
    """Pixels that were seen keep their bits; images at the ends between two samples are the samples."""
    seen = ~np.broadcast_to(asked['missing'], asked['images'].shape)
    np.testing.assert_array_equal(answers['inpaint/images'][seen], asked['images'][seen])
    filled, given = decoded(answers['inpaint_bytes/images_bytes']), decoded(asked['images_bytes'])
    np.testing.assert_array_equal(filled[seen], given[seen])
    ends = answers['sample/images'][asked['between']].astype(int)
    assert np.abs(answers['interpolate/images'][[0, -1]].astype(int) - ends).max() <= 1


def assert_alike(answer, value, scale, key):
    """Energies element by element: of f, which `scale` makes them from, 1e-4 of its size, and 1e-6 where it
    is small."""
    np.testing.assert_allclose(answer / scale, value / scale, rtol=1e-4, atol=1e-6, err_msg=key)


def assert_scores(answers, asked, model):
    """The signature `score` of clean images answers as `EnergyModel.anomaly_scores` does."""
    images = {'score': asked['images']}
    if len(asked['images_bytes']):
        images['score_bytes'] = decoded(asked['images_bytes'])
    for signature, given in images.items():
        scores = model.anomaly_scores(given)
        for name in ('energy', 'gradient', 'maps', 'log_prob'):
            value, key = getattr(scores, name), f'{signature}/{name}'
            if value is not None:
                np.testing.assert_allclose(answers[key], value, rtol=1e-3, atol=1e-4 * np.abs(value).max())


def answered(version, asked, directory):
    """{'signature/output': answer} of a process that loads the exported version."""
    given, found = directory / 'requests.npz', directory / 'answers.npz'
    np.savez(given, **asked)
    done = run('-I', '-c', ANSWER, version, given, found)
    assert done.returncode == 0, done.stderr
    return dict(np.load(found))


def compare(key, answer, value, scale=None):
    """An output of a signature and what it should be; for an energy, `scale` is that of `assert_alike`."""
    if answer.dtype.kind == 'S':
        answer = decoded(answer)
    assert answer.shape == value.shape, key
    answer, value = answer.astype(float), np.asarray(value, float)
    if key.split('/')[-1].startswith('images'):  # Chains carry rounding on: seldom by more than a grey level.
        apart = np.abs(answer - value) / (1 if np.ptp(value) > 10 else 2 / 255)
        assert np.mean(apart > 1) < 0.01 and apart.max() < 10, (key, apart.max())
    else:
        assert_alike(answer, value, 1 if scale is None else scale, key)


@pytest.mark.parametrize('name', exported.names())
def test_every_signature_in_a_clean_process(name, tmp_path):
    model, version = drl_tf.EnergyModel.from_preset(name), pathlib.Path(exported.find(name))
    log_z = json.loads((version / exported.DESCRIPTION).read_text()).get('log_z')
    asked = request(model)
    answers, compared = answered(version, asked, tmp_path), set()
    if 'score/energy' in answers:
        assert_scores(answers, asked, model)
        compared = {key for key in answers if key.split('/')[0] in ('score', 'score_bytes')}
    if 'inpaint/images' in answers:
        assert_changes(answers, asked)
    expected = Expected(model, asked, log_z)
    found = expected.of_arrays()
    for signature, outputs in {**found, **expected.of_files(found)}.items():
        for output, value in outputs.items():
            key = f'{signature}/{output}'
            key = key if key in answers else f'{key}_bytes'
            level = {'energy': asked['level'], 'low': 0, 'high': 0}.get(output)
            compare(key, answers[key], value, None if level is None else model.model.precision[level])
            assert len(answers[key]) == SIZE
            compared.add(key)
    assert compared == set(answers)


def test_the_likelihood_of_the_plane_integrates_to_one():
    """By quadrature over a grid with a spacing of 0.01, by every estimate of log Z."""
    version = tf.saved_model.load(exported.find('toy_checkerboard'))
    side = np.linspace(-1.5, 1.5, 301, dtype=np.float32)
    points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 1, 1, 2)
    for log_prob in version.signatures['log_likelihood'](images=tf.constant(points)).values():
        assert np.exp(np.float64(log_prob)).sum() * 0.01**2 == pytest.approx(1, abs=0.02)
    log_prob = drl_tf.EnergyModel.from_preset('toy_checkerboard').log_prob(points, level=0)
    assert np.exp(np.float64(log_prob)).sum() * 0.01**2 == pytest.approx(1, abs=0.05)


def test_there_are_images_classes_and_points():
    configs = [exported.load_config(exported.find(name)) for name in exported.names()]
    assert {bool(config.planar) for config in configs} == {True, False}
    assert any(config.data.num_classes for config in configs if not config.planar)
