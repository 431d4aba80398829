"""Small datasets in the real file format of tensorflow-datasets, made of the test's own pictures."""

import pytest

from drl_tf.tools import tfds_files


@pytest.fixture
def prepare(tmp_path):
    """A function that writes TFRecord files and metadata below `tmp_path` and returns the directory of the
    dataset there."""
    return lambda name, shards=1, **pictures: tfds_files.write(name, tmp_path, shards, **pictures)
