"""Which features of a tensorflow-datasets dataset are the pictures and the classes."""

import types

import numpy as np
import pytest
import tensorflow_datasets as tfds

from drl_tf.base.errors import UserError
from drl_tf.data import tfds_features


def test_features_are_found_by_kind_and_by_the_supervised_keys():
    """Among several pictures, the one in the supervised keys counts, else the first. A single ClassLabel is
    the label, whatever its name."""
    features = {
        'left': tfds.features.Image(shape=(4, 4, 3)),
        'right': tfds.features.Image(shape=(4, 4, 3)),
        'kind': tfds.features.ClassLabel(num_classes=2),
        'depth': tfds.features.Image(shape=(4, 4, 1), dtype=np.float32, encoding_format='png'),
    }

    def builder(keys, **kept):
        info = types.SimpleNamespace(features=tfds.features.FeaturesDict(kept), supervised_keys=keys)
        return types.SimpleNamespace(info=info)

    both = builder(('right', 'kind'), **features)
    assert tfds_features.image_feature(both, 'x') == 'right' and tfds_features.label_feature(both) == 'kind'
    first = builder(None, **features)
    assert tfds_features.image_feature(first, 'x') == 'left' and tfds_features.label_feature(first) == 'kind'
    two = builder(None, **features, other=tfds.features.ClassLabel(num_classes=3))
    assert tfds_features.label_feature(two) is None
    nested = {
        'faces': tfds.features.Sequence({'image': features['left'], 'age': np.int32}),
        'scene': {'photo': features['left']},
        'frames': tfds.features.Sequence(features['left']),
    }
    assert tfds_features.image_feature(builder(None, **nested, left=features['left']), 'x') == 'left'
    refused = r'x has pictures within other features alone \(faces/image, frames, scene/photo\)'
    with pytest.raises(UserError, match=refused):
        tfds_features.image_feature(builder(None, **nested), 'x')
    with pytest.raises(UserError, match=r'no feature of type Image, uint8: its features are depth \(Image\)'):
        tfds_features.image_feature(builder(None, depth=features['depth']), 'x')
