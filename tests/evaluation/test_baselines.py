"""Scores without a model: the size as PNG, and the Mahalanobis distance of features."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.spatial import distance

from drl_tf.base.errors import UserError
from drl_tf.evaluation import baselines

RNG = np.random.default_rng(0)


@pytest.mark.parametrize('channels', [1, 3])
def test_bits_are_those_of_the_file(channels):
    image = RNG.integers(0, 256, [16, 12, channels]).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, format='png', optimize=True)
    grey = np.full_like(image, 127)
    bits = baselines.png_bits(np.stack([image, grey]))
    assert bits[0] == 8 * len(file.getvalue()) > 8 * image.size
    assert bits[1] < 8 * image.size


def test_the_distance_is_that_of_the_gaussian():
    mean, mix = RNG.normal(size=4), RNG.normal(size=[4, 4])
    features = mean + RNG.normal(size=[50_000, 4]) @ mix.T
    others = RNG.normal(size=[5, 4]) * 3
    precision = np.linalg.inv(mix @ mix.T)
    expected = [distance.mahalanobis(other, mean, precision) ** 2 for other in others]
    np.testing.assert_allclose(baselines.mahalanobis(features)(others), expected, rtol=0.05)


def test_fewer_images_than_features_and_a_dead_feature():
    features = RNG.normal(size=[20, 50])
    features[:, 7] = 0
    distances = baselines.mahalanobis(features)
    far = features[:1] + 5 * np.eye(50)[7]
    assert np.isfinite(distances(features)).all() and distances(far)[0] > distances(features[:1])[0]


def test_features_must_be_finite():
    with pytest.raises(UserError, match='finite'):
        baselines.mahalanobis(np.full([3, 2], np.nan))
