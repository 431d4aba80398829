"""The crop and resize of each dataset on the random pictures that tensorflow-datasets makes in its format."""

import pytest
import tensorflow_datasets as tfds

from drl_tf.config import config
from drl_tf.data import dataset_table, pipeline, tfds_datasets, tfds_reading


@pytest.mark.parametrize(('dataset', 'size', 'picture'), [
    ('cifar10', 32, (32, 32, 3)),
    ('svhn_cropped', 32, (32, 32, 3)),
    ('celeb_a', 64, (218, 178, 3)),
    ('lsun_church', 64, (None, None, 3)),
    ('lsun_bedroom', 128, (None, None, 3)),
])  # fmt: skip
def test_pictures_of_the_format_become_images(dataset, size, picture, monkeypatch):
    """The files are not there, so what looks for them is left out."""
    monkeypatch.setattr(
        tfds_datasets, 'open_builder', lambda data: tfds.builder(dataset_table.builder_name(data))
    )
    monkeypatch.setattr(tfds_reading, 'count', lambda builder, split, data: 3)
    with tfds.testing.mock_data(num_examples=3):
        data = dataset_table.resolve(config.Data(dataset=dataset, image_size=size))
        assert tfds.builder(dataset_table.builder_name(data)).info.features['image'].shape == picture
        images = pipeline.load_images(data, 'train')
        batch = next(iter(pipeline.training_images(data, batch_size=2, seed=0)))
    assert images.shape == (3, size, size, 3) and images.std() > 0
    assert batch.shape == (2, size, size, 3) and abs(float(batch[0, 0, 0, 0])) <= 1
