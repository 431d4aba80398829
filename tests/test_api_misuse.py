"""Wrong arguments of `drl_tf.EnergyModel.from_preset` and of the methods: one line that names them."""

import json

import numpy as np
import pytest
import tensorflow as tf
from helpers import golden, small_models

import drl_tf
from drl_tf.base.errors import UserError
from drl_tf.config import config as configuration
from drl_tf.core.inverse import Plan

IMAGES = np.random.default_rng(0).integers(0, 256, [20, 8, 8, 1]).astype(np.uint8)
LABELS = np.arange(20) % 10
DATASET = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))


@pytest.fixture(scope='module')
def model():
    return drl_tf.EnergyModel.from_preset(str(golden.DIRECTORY / 'cdrl'))


@pytest.fixture(scope='module')
def plain():
    """One without classes."""
    return drl_tf.EnergyModel.from_preset(golden.DIRECTORY / 't6')


@pytest.mark.parametrize(('method', 'arguments', 'words'), [
    ('generate', {'num_samples': 0}, 'num_samples=0 must be a whole number from 1'),
    ('generate', {'num_samples': 2.5}, 'num_samples=2.5'),
    ('generate', {'seed': -1}, 'seed=-1'),
    ('generate', {'num_samples': 2, 'labels': [1, 2, 3]}, 'one for each of the 2'),
    ('generate', {'labels': 10}, 'from -1 to 9'),
    ('generate', {'num_samples': True}, 'num_samples=True'),
    ('generate', {'seed': 'x'}, 'seed=x'),
    ('generate', {'num_samples': 2, 'first': 2**31 - 1},
        'first=2147483647 must be a whole number from 0 to 2147483645'),
    ('generate', {'num_samples': 20, 'first': 2**31 - 21}, 'first=2147483627'),
    ('generate', {'first': None}, 'first=None'),
    ('generate', {'num_steps': 3}, 'num_steps=3 must be a whole number from 1 to 2'),
    ('generate', {'num_steps': 1}, 'num_steps=1 skips levels, but initializer proposes'),
    ('score', {'images': IMAGES, 'level': 2}, 'level must be from 0 to 1'),
    ('compile', {}, 'compile is not needed'),
    ('predict', {'x': IMAGES}, 'predict is not defined: use energy'),
    ('evaluate', {'x': IMAGES}, 'evaluate is not defined: use energy'),
    ('train_on_batch', {'x': IMAGES}, 'train_on_batch is not defined: use fit'),
    ('interpolate', {'begin': IMAGES}, 'begin=[[[['),
    ('inpaint', {'images': IMAGES, 'missing': 1, 'plan': Plan('posterior')}, 'plan.method=posterior needs'),
    ('restore', {'observations': IMAGES, 'degradation': 'grey'}, 'degradation=grey needs'),
    ('restore', {'observations': IMAGES, 'degradation': 'noise:30'}, 'degradation=noise:30: the deviation'),
    ('edit', {'images': IMAGES, 'strength': 0}, 'strength=0.0 must be above 0'),
    ('__call__', {'images': IMAGES}, 'calling the model is not defined: use energy'),
    ('fit', {'images': DATASET.batch(4), 'labels': LABELS}, 'labels must be in the dataset'),
    ('fit', {'images': DATASET.map(lambda x, y: x)}, 'give pairs (images, labels)'),
    ('fit', {'images': DATASET.map(lambda x, y: ({'image': x}, y))}, 'holds a dict for each image'),
    ('fit', {'images': IMAGES, 'labels': LABELS, 'validation_data': (IMAGES,)}, 'is a tuple of 1: give'),
    ('fit', {'images': DATASET.map(lambda x, y: (x[:4], y))}, 'images of shape (4, 8, 1)'),
    ('fit', {'images': DATASET.map(lambda x, y: (tf.cast(x, tf.int32), y))}, 'images of type int32'),
    ('fit', {'images': DATASET.map(lambda x, y: (x, y[None])).batch(4)}, 'labels of shape (None, 1): give'),
    ('fit', {'images': DATASET.map(lambda x, y: (x, tf.one_hot(y, 10)))}, 'labels of shape (10,): give'),
    ('fit', {'images': DATASET.map(lambda x, y: (x, {'label': y}))}, 'holds a dict for each label'),
    ('fit', {'images': DATASET.batch(4), 'batch_size': 24, 'verbose': 0},
        'the dataset holds 20 images, too few for batch_size=24'),
    ('fit', {'images': DATASET.repeat(), 'verbose': 0}, 'has no end: give steps_per_epoch'),
    ('fit', {'images': IMAGES, 'labels': LABELS, 'steps_per_epoch': 0}, 'steps_per_epoch=0 must be'),
    ('fit', {'images': IMAGES, 'labels': LABELS, 'validation_data': IMAGES[..., 0]}, 'must be [n, 8, 8, 1]'),
    ('fit', {'images': IMAGES, 'labels': LABELS, 'validation_data': DATASET.repeat()}, 'must end'),
    ('fit', {'images': IMAGES, 'labels': LABELS, 'validation_data': DATASET.take(0)}, 'holds no image'),
    ('fit', {'images': IMAGES, 'labels': LABELS, 'validation_data': IMAGES, 'validation_freq': 0},
        'validation_freq=0'),
    ('save_to_preset', {'directory': golden.DIRECTORY / 't6'}, 'holds other files than a preset'),
    ('save_to_preset', {'directory': '/proc/x'}, 'directory=/proc/x cannot be written to'),
    ('generate', {'num_samples': 2, 'labels': [[1], [2, 3]]}, 'labels must be an array'),
    ('generate', {'guidance': 30}, 'guidance=30 must be a number from -1 to 20'),
    ('generate', {'guidance': float('nan')}, 'guidance=nan'),
    ('generate', {'guidance': 'much'}, 'guidance=much'),
    ('energy', {'images': IMAGES, 'guidance': None}, 'guidance=None must be a number'),
    ('denoise', {'images': IMAGES, 'guidance': None}, 'guidance=None must be a number'),
    ('denoise', {'images': IMAGES, 'seed': 1.5}, 'seed=1.5'),
    ('energy', {'images': None}, 'images of shape ()'),
    ('energy', {'images': [[1.0], [1.0, 2.0]]}, 'images must be an array'),
    ('energy', {'images': IMAGES[..., 0]}, 'must be [n, 8, 8, 1]'),
    ('energy', {'images': IMAGES[:0]}, 'must be [n, 8, 8, 1] with n from 1'),
    ('energy', {'images': IMAGES.astype(np.float32)}, 'images reach 255'),
    ('energy', {'images': IMAGES.astype(np.int64)}, 'int64'),
    ('energy', {'images': np.full([1, 8, 8, 1], np.nan)}, 'finite'),
    ('energy', {'images': IMAGES, 'level': 2}, 'level must be from 0 to 1'),
    ('energy', {'images': IMAGES, 'level': 0.5}, 'level must be a whole number'),
    ('energy', {'images': IMAGES, 'level': [0, 1]}, 'one for each of the 20'),
    ('denoise', {'images': np.full([1, 8, 8, 1], 3e38)}, 'not finite'),
    ('fit', {'images': IMAGES}, 'labels must be given'),
    ('fit', {'images': IMAGES, 'labels': LABELS, 'batch_size': 21}, 'batch_size=21 must be a whole number '
                                                                    'from 1 to 20'),
    ('fit', {'images': IMAGES, 'labels': LABELS, 'batch_size': 0}, 'batch_size=0 must be'),
    ('fit', {'images': IMAGES, 'labels': LABELS, 'learning_rate': 0}, 'learning_rate=0 must be a number '
                                                                      'from 1e-08 to 1'),
    ('fit', {'images': IMAGES, 'labels': LABELS, 'learning_rate': 'x'}, 'learning_rate=x must be'),
    ('fit', {'images': IMAGES, 'labels': LABELS, 'epochs': 0}, 'epochs=0 must be'),
    ('export', {'directory': __file__}, f'directory={__file__} cannot be written to'),
    ('export', {'directory': '/proc/x'}, 'directory=/proc/x cannot be written to'),
    ('export', {'directory': ''}, 'directory= must be a path'),
    ('export', {'directory': 3}, 'directory=3 must be a path'),
    ('export', {'directory': 'nowhere', 'max_samples': 0}, 'max_samples=0 must be a whole number from 1'),
])  # fmt: skip
def test_wrong_arguments(model, method, arguments, words):
    with pytest.raises(UserError) as error:
        getattr(model, method)(**arguments)
    assert words in str(error.value), error.value
    assert '\n' not in str(error.value) and '--' not in str(error.value), error.value


def test_images_and_labels_of_a_dataset_are_checked_as_training_reads_them():
    model = drl_tf.EnergyModel(small_models.PRECONDITIONED.replace(num_classes=10))
    for change, words in (
        (lambda x, y: (tf.cast(x, tf.float32), y), 'images must be finite and within [-1, 1]'),
        (lambda x, y: (x, y + 1), 'labels must be from -1 to 9'),
    ):
        with pytest.raises(UserError) as error:
            model.fit(DATASET.map(change), verbose=0)
        assert words in str(error.value) and '\n' not in str(error.value) and '--' not in str(error.value)


def test_classes_of_a_model_without_any(plain):
    for wrong in (
        lambda: plain.generate(2, labels=1),
        lambda: plain.energy(IMAGES, labels=1),
        lambda: plain.generate(2, guidance=1.0),
    ):
        with pytest.raises(UserError, match='no classes'):
            wrong()
    assert np.ptp(plain.generate(2)) > 0


def test_a_wrong_option_of_a_configuration_is_named_without_dashes(plain):
    config = plain.get_config()
    config['options'] = json.loads(json.dumps(config['options']).replace('"channels": 8', '"channels": 0'))
    with pytest.raises(UserError, match=r'(?<!-)\bchannels=0'):
        drl_tf.EnergyModel.from_config(config)


def test_a_run_without_checkpoints_is_named_as_the_argument(tmp_path):
    configuration.load(str(golden.DIRECTORY / 't6')).save(str(tmp_path))
    with pytest.raises(UserError, match=f'^preset={tmp_path} holds no checkpoint'):
        drl_tf.EnergyModel.from_preset(tmp_path)


def test_an_unknown_preset_is_told_what_may_be_given():
    for name in ('nowhere', 'nowhere.keras', 's3://me/model'):
        with pytest.raises(UserError) as error:
            drl_tf.EnergyModel.from_preset(name)
        assert str(error.value) == (
            f'preset={name} must be one of digits, toy_checkerboard, a directory (a preset, a run or an '
            'exported model), a .keras file, hf://org/model or kaggle://org/model/keras/variant'
        )


def test_log_prob_without_heights_says_how_to_get_them(plain, tmp_path):
    """For energies that are normalised; others have none."""
    for method in (plain.log_prob, plain.typicality):
        with pytest.raises(UserError, match=r'need the normalised energies .*: use energy') as error:
            method(IMAGES)
        assert '--' not in str(error.value)
    model = drl_tf.EnergyModel(small_models.PRECONDITIONED)
    with pytest.raises(UserError, match=r'is not known: run .*--mode=likelihood.*export\(DIR\).*from_preset'):
        model.log_prob(IMAGES)


def test_what_is_no_model(tmp_path):
    for name in ('nowhere', tmp_path, '', 3, None, b'digits'):
        with pytest.raises(UserError, match=f'preset={name}'):
            drl_tf.EnergyModel.from_preset(name)
    with pytest.raises(UserError, match='dtype'):
        drl_tf.EnergyModel.from_preset(golden.DIRECTORY / 't6', dtype='float16')
