import importlib.util
import sys

import pytest

from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics import tfgan


def test_evaluation_leaves_no_placeholder_packages():
    assert callable(tfgan.evaluation().frechet_classifier_distance_from_activations)
    assert not {'tensorflow_gan', 'tensorflow_gan.python'} & set(sys.modules)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match='pip install tensorflow-gan'):
        tfgan.evaluation.__wrapped__()
