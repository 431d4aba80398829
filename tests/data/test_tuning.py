"""No dataset has a thread that tunes it: the deletion of its iterator would wait for that thread."""

import pytest

from drl_tf.config import config
from drl_tf.data import pipeline


@pytest.mark.parametrize('dataset', ['digits', 'toy_swiss_roll'])
def test_training_images_are_not_tuned(dataset):
    images = pipeline.training_images(config.Data(dataset), 8, 5)
    assert images.options().autotune.enabled is False
