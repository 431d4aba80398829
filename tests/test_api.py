"""`drl_tf.EnergyModel`: images and energies are those of the command line and of the
SavedModel."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import golden, small_models
from helpers.tiny import ROOT, call
from helpers.tiny import run as run_python

import drl_tf
from drl_tf.base import pixels, seal
from drl_tf.config import config as configuration
from drl_tf.core import noise
from drl_tf.core.guidance import guided
from drl_tf.core.sampling import Draw
from drl_tf.runs import checkpoint, samples

IMAGES = np.random.default_rng(0).integers(0, 256, [20, 8, 8, 1]).astype(np.uint8)
LABELS = np.arange(20) % 10


@pytest.fixture(scope='module')
def run():
    """The Keras model of the small run with classes."""
    return checkpoint.load_model(str(golden.DIRECTORY / 'cdrl'))[0]


@pytest.fixture(scope='module')
def model():
    return drl_tf.EnergyModel.from_preset(str(golden.DIRECTORY / 'cdrl'))


@pytest.fixture(scope='module')
def plain():
    """One without classes."""
    return drl_tf.EnergyModel.from_preset(golden.DIRECTORY / 't6')


def test_the_package_is_imported_without_tensorflow():
    done = run_python(
        '-c',
        'import sys, drl_tf; print(bool(drl_tf.load.__doc__), {"tensorflow", "keras", "numpy"} & '
        '{*sys.modules})',
    )
    assert (done.returncode, done.stdout) == (0, 'True set()\n'), done.stderr


def test_what_it_tells(model, plain):
    assert (model.image_shape, model.num_classes, model.num_levels, model.step) == (
        (8, 8, 1),
        10,
        2,
        golden.STEPS,
    )
    assert plain.num_classes == 0 and model.config.training.precision == 'float32'


def test_samples_are_those_of_the_seed(model, run):
    """A seed gives the same images in batches and alone, with classes in turn or as asked. Another seed, no
    class or another guidance changes them."""
    images = model.generate(20, seed=4)
    assert images.dtype == np.uint8 and images.shape == (20, 8, 8, 1)
    expected = pixels.to_uint8(
        run.sample(20, [4, noise.SAMPLING], Draw(terms=guided(tf.range(20) % 10 + 1)))[-1]
    )
    assert np.abs(images.astype(int) - expected).max() <= 1
    assert np.abs(model.generate(3, seed=4, first=15).astype(int) - images[15:18]).max() <= 1
    assert np.abs(model.generate(20, seed=4, labels=LABELS).astype(int) - images).max() <= 1
    assert np.abs(model.generate(3, seed=4, labels=3, first=2)[1].astype(int) - images[3]).max() <= 1
    for other in (
        model.generate(20, seed=5),
        model.generate(20, seed=4, labels=-1),
        model.generate(20, seed=4, guidance=3),
    ):
        assert np.abs(images.astype(int) - other).max() > 1


def test_energies_are_those_of_the_diffused_mean(model, run, small_export):
    level = np.int32([0, 1] * 10)
    schedule, x = run.schedule, IMAGES.astype(np.float32) / 127.5 - 1
    y = (schedule.m * schedule.A[:-1])[level][:, None, None, None].astype(np.float32) * x
    for labels, guidance in ((None, 0.0), (LABELS, 0.0), (LABELS, 1.5)):
        terms = guided(
            tf.constant(np.zeros(20, np.int32) if labels is None else labels + 1, tf.int32), guidance
        )
        expected = -run.density_at(tf.constant(level), terms=terms)(y).numpy()
        for images in (IMAGES, x):
            found = model.energy(images, level, labels, guidance)
            assert found.shape == (20,) and np.ptp(found) > 1
            np.testing.assert_allclose(found, expected, rtol=1e-4)
    signature = tf.saved_model.load(str(small_export)).signatures['energy_bytes']
    served = signature(images_bytes=tf.io.encode_png(IMAGES), level=tf.constant(level))['energy']
    np.testing.assert_allclose(model.energy(IMAGES, level), served, rtol=1e-4)


def test_the_score_is_the_gradient_of_the_energy(model, run):
    """By central differences along random directions, at both levels, guided or not."""
    x = IMAGES[:4].astype(np.float32) / 127.5 - 1
    level, step = np.int32([0, 1, 0, 1]), 1e-3
    A = run.schedule.A[level][:, None, None, None]
    direction = np.random.default_rng(2).normal(size=x.shape) / 8
    for options in ({}, {'labels': 3, 'guidance': 0.5}):
        ahead, behind = (
            model.energy(np.clip(x * 0.9 + sign * step * direction, -1, 1), level, **options)
            for sign in (1, -1)
        )
        slope = (model.score(x * 0.9 * A, level, **options) * A * direction).sum((1, 2, 3))
        assert np.abs(slope).min() > 1
        np.testing.assert_allclose((behind - ahead) / (2 * step), slope, rtol=0.02)


def test_the_score_of_gaussian_data_is_known():
    """Before training, a preconditioned energy is the log density of N(mu, d^2 I)."""
    mean, std = 0.25, 0.4
    model = drl_tf.EnergyModel(small_models.PRECONDITIONED.replace(data_mean=(mean,), data_std=std))
    A, S = model.model.schedule.A[3], model.model.schedule.S[3]
    x = np.random.default_rng(1).normal(size=[3, 8, 8, 1]).astype(np.float32)
    np.testing.assert_allclose(
        model.score(x, 3), (A * mean - x) / ((A * std) ** 2 + S**2), rtol=1e-3, atol=1e-3
    )


def test_fewer_levels_are_those_of_the_option():
    """`num_steps` gives the images of a configuration with `sampling_levels`; callbacks see each part."""

    class Record(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.states, self.calls = [], []

        def on_predict_begin(self, logs=None):
            self.calls.append('begin')

        def on_predict_batch_end(self, batch, logs=None):
            self.states.append((batch, logs['outputs']))

        def on_predict_end(self, logs=None):
            self.calls.append('end')

    made = small_models.PRECONDITIONED.replace(final_denoise=False, sample_batch_size=2)
    whole, fewer = drl_tf.EnergyModel(made), drl_tf.EnergyModel(made.replace(sampling_levels=2))
    fewer.set_weights(whole.get_weights())
    record = Record()
    images = whole.generate(3, seed=1, num_steps=2, callbacks=record)
    np.testing.assert_array_equal(images, fewer.generate(3, seed=1, callbacks=None))
    assert np.abs(images.astype(int) - whole.generate(3, seed=1)).max() > 1
    assert record.calls == ['begin', 'end'] and [batch for batch, _ in record.states] == [0, 1, 2, 3]
    last = np.concatenate([record.states[1][1], record.states[3][1]])[:3]
    np.testing.assert_array_equal(images, pixels.to_uint8(last))
    assert record.params['steps'] == 4 and record.model is whole


def test_denoising_is_that_of_the_level(model, run):
    x_next = np.random.default_rng(1).normal(size=[20, 8, 8, 1]).astype(np.float32)
    found = model.denoise(x_next, 1, seed=2)
    expected = run.denoise(tf.constant(x_next), tf.ones([20], tf.int32), [2, noise.SAMPLING])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(model.denoise(x_next, 0, seed=2) - found).max() > 0.01
    assert np.abs(model.denoise(x_next, 1, seed=2, labels=3) - found).max() > 1e-5


def test_the_last_images_that_an_index_can_name(model):
    """Numbers of NumPy are numbers too."""
    last = model.generate(np.int64(3), seed=np.int64(3), first=np.int64(2**31 - 4))
    assert np.abs(model.generate(1, seed=3, first=2**31 - 2)[0].astype(int) - last[2]).max() <= 1


@pytest.mark.slow
def test_an_exported_model_gives_the_images_of_the_command_line(capsys, tmp_path):
    """Exports are float32, whatever they were trained in, also where their workdir is used again, unless a
    command asks otherwise."""

    original, model = golden.DIRECTORY / 'preconditioned' / 'saved_model' / '1', tmp_path / 'digits' / '1'
    shutil.copytree(original, model)
    config = (model / 'config.json').read_text()
    (model / 'config.json').write_text(config.replace('"precision": "float32"', '"precision": "bfloat16"'))
    (model / seal.MANIFEST).unlink()
    seal.seal(model)

    def drawn(*arguments):
        code, out, err = call(
            capsys, '--mode=sample', f'--workdir={tmp_path}/w', '--num_samples=4', *arguments
        )
        assert code == 0, err
        return np.concatenate(list(samples.read(out.split()[-1], (8, 8, 1)))).astype(int), out

    assert configuration.load(str(model)).training.precision == 'bfloat16'
    images = drl_tf.EnergyModel.from_preset(original).generate(4)
    for arguments in ([f'--model={model}'], []):
        found, out = drawn(*arguments)
        assert np.abs(images - found).max() <= 1 and 'precision: float32' in out
    assert configuration.load(f'{tmp_path}/w').training.precision == 'float32'
    assert 'precision: bfloat16' in drawn(f'--model={model}', '--precision=bfloat16')[1]


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Runs the examples of a page of docs/ in order, and returns their variables. A small model with classes
    stands in for the digits, of whose networks the pages say nothing."""
    monkeypatch.chdir(tmp_path)
    real = drl_tf.EnergyModel.from_preset

    def from_preset(preset, **options):
        return real(golden.DIRECTORY / 'preconditioned' if preset == 'digits' else preset, **options)

    monkeypatch.setattr(drl_tf.EnergyModel, 'from_preset', from_preset)

    def ran(name):
        lines, names = (ROOT / 'docs' / name).read_text().splitlines(), {}
        exec('\n'.join(line[4:] for line in lines if line.startswith('    ')), names)
        return names

    return ran


@pytest.mark.slow
def test_the_printed_examples_work_as_printed(page):
    """The export has the energies of the fitted model."""
    names = page('python.md')
    model, again, images = names['model'], names['again'], names['images']
    start = drl_tf.EnergyModel.from_preset('digits')
    assert names['x_1'].shape == images.shape and again.step == model.step > start.step
    before, fitted, exported_again = (each.energy(images, 1) for each in (start, model, again))
    np.testing.assert_allclose(exported_again, fitted, rtol=1e-5)
    assert np.abs(fitted / before - 1).min() > 3e-5


def test_an_untrained_model_is_a_function_of_its_configuration():
    config = small_models.OPTIONS.replace(seed=3)
    one, two = drl_tf.EnergyModel(config), drl_tf.EnergyModel(config)
    other = drl_tf.EnergyModel(config.replace(seed=4))
    assert one.step == 0
    np.testing.assert_array_equal(one.energy(IMAGES), two.energy(IMAGES))
    assert np.abs(one.energy(IMAGES) - other.energy(IMAGES)).max() > 0


def test_former_names_work_with_a_warning():
    with pytest.warns(DeprecationWarning, match='use drl_tf.EnergyModel.from_preset'):
        old = drl_tf.load(golden.DIRECTORY / 't6', precision='float32')
    with pytest.warns(DeprecationWarning, match='use EnergyModel.generate'):
        images = old.sample(3, 5)
    np.testing.assert_array_equal(images, old.generate(3, seed=5))
    with pytest.warns(DeprecationWarning, match='use drl_tf.EnergyModel'):
        from drl_tf.api import Model
    assert Model is drl_tf.EnergyModel is type(old)
    from drl_tf.api import load

    with pytest.warns(DeprecationWarning, match='use drl_tf.EnergyModel.from_preset') as warned:
        older = load(golden.DIRECTORY / 't6', 'float32')
    assert older.step == old.step and warned[0].filename == __file__
    for module, name in ((drl_tf, 'Model'), (drl_tf.api, 'Models')):
        with pytest.raises(AttributeError, match=f'no attribute {name!r}'):
            getattr(module, name)


@pytest.mark.slow
def test_the_printed_examples_of_keras_work_as_printed(page):
    names = page('keras.md')
    assert names['inside'].step == 8 and names['images'].shape == (16, 8, 8, 1)
    assert keras.saving.load_model('best.keras').step > golden.STEPS
