"""Functions of the user that give pictures, registered by name or by an entry point of a package."""

import importlib.metadata
import sys
import types

import numpy as np
import pytest
from helpers import own_data
from helpers.own_data import refusal

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import dataset_table, indexed, pipeline, registry

IMAGES = np.zeros([4, 8, 8, 3], np.uint8)
pytestmark = pytest.mark.usefixtures('fresh')


@pytest.mark.parametrize(
    ('result', 'message'),
    [
        (None, 'returns no images of the training split'),
        ([], 'returns no images of the train split'),
        (IMAGES / 255, 'a picture is float64'),
        ((IMAGES, [0, 1]), 'must be 4 whole numbers from 0'),
        ((IMAGES, ['a'] * 4), 'must be 4 whole numbers from 0'),
        ((IMAGES, np.arange(4) - 2), 'must be 4 whole numbers from 0'),
        ((IMAGES, np.array([0, 1, 2, 2**32])), 'below 100,000'),
        (7, 'failed on the train split'),
    ],
)
def test_a_function_that_returns_no_images_is_refused(result, message):
    registry.register_dataset('unfit')(lambda split: result if split == 'train' else None)
    assert message in refusal('unfit')


def test_a_registered_function_may_return_pictures_of_any_size_and_a_test_split():
    """Pictures of one array give the size of images; others have 32 px. Each picture is read on demand."""
    pictures = [np.full([10 + index, 20], index, np.uint8) for index in range(3)]

    @registry.register_dataset('of_any_size', flip=True)
    def of_any_size(split):
        """Three pictures. And more words."""
        return pictures if split == 'train' else pictures[:1]

    data = dataset_table.resolve(config.Data(dataset='of_any_size'))
    assert data.dataset == 'python:of_any_size' and data.image_shape == (32, 32, 3)
    assert pipeline.load_images(data, 'train')[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert pipeline.count_images(data, 'test') == 1
    spec = dataset_table.find_spec(data.dataset)
    assert spec.flip and spec.note == 'Three pictures. And more words'
    assert of_any_size('test') == pictures[:1]
    for name in ('digits', 'a:b', ''):
        with pytest.raises(UserError, match='cannot be registered'):
            registry.register_dataset(name)


class Pictures:
    """Pictures of a user's own code, of which some are broken."""

    def __init__(self, broken):
        self.broken = broken

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index in self.broken:
            raise OSError('cut off')
        return own_data.picture(index)


@pytest.mark.parametrize('broken', [(0,), (0, 3), (5,)])
def test_broken_pictures_of_a_function_are_skipped(broken, caplog):
    """The first picture like any other."""
    registry.register_dataset('some_broken')(lambda split: Pictures(broken))
    data = dataset_table.resolve(config.Data(dataset='some_broken', image_size=8))
    left = [number for number in range(6) if number not in broken]
    assert (pipeline.load_images(data, 'train')[:, 0, 0, 0] // 10).tolist() == left
    assert f'Skipped some_broken: train picture {broken[0]}, a broken image: cut off' in caplog.text
    assert f'{len(left)} of 6 images usable, {len(broken)} broken' in caplog.text
    indexed.forget()
    registry.register_dataset('all_broken')(lambda split: Pictures(range(6)))
    with pytest.raises(UserError, match='no usable image: all 6 files are broken'):
        pipeline.load_images(config.Data(dataset='all_broken', image_size=8), 'train')


def test_an_entry_point_registers_its_function(monkeypatch):
    """The object may be a plain function; a module that cannot be loaded is named."""
    module = types.ModuleType('of_a_package')
    module.images = lambda split: IMAGES if split == 'train' else None
    monkeypatch.setitem(sys.modules, 'of_a_package', module)
    points = [
        importlib.metadata.EntryPoint(name, value, registry.GROUP)
        for name, value in [('packaged', 'of_a_package:images'), ('lost', 'no_such_module:images')]
    ]
    monkeypatch.setattr(importlib.metadata, 'entry_points', lambda group: points)
    registry.forget()
    try:
        assert pipeline.load_images(config.Data(dataset='packaged'), 'train').shape == (3, 8, 8, 3)
        assert 'its entry point no_such_module:images cannot be loaded' in refusal('lost')
        assert 'did you mean packaged?' in refusal('packagde')
    finally:
        registry.forget()


def test_a_run_of_a_function_that_is_not_registered_here_is_known_but_its_data_are_not():
    stored = config.Data(dataset='python:elsewhere', image_size=8, image_channels=1, num_classes=3)
    assert dataset_table.resolve(stored) == stored
    assert 'is not registered in this process' in refusal('python:elsewhere')
