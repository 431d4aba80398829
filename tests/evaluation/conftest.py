"""Networks and images that the tests of scores share."""

import pytest
from helpers import stand_in

from drl_tf.config.config import Data
from drl_tf.data import pipeline


@pytest.fixture(scope='module')
def inception(tmp_path_factory):
    return stand_in.save(tmp_path_factory.mktemp('networks') / 'inception')


@pytest.fixture(scope='module')
def held_out():
    return pipeline.load_images(Data(image_size=16), 'test')
