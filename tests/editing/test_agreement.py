"""Which digits images of an expression show, counted and written."""

import json

import numpy as np
import pytest
from helpers.small_models import OPTIONS

from drl_tf.data import digits
from drl_tf.editing import agreement


def test_shares_of_real_digits_are_those_of_their_labels(tmp_path):
    images, labels = digits.load('test')
    chosen = np.concatenate([np.flatnonzero(labels == 3)[:30], np.flatnonzero(labels == 8)[:10]])
    path = str(tmp_path / 'a.json')
    said = agreement.judged(OPTIONS.replace(dataset='digits').data, '3 | 8', images[chosen], path)
    found = json.loads((tmp_path / 'a.json').read_text())
    assert found['expression'] == '3 | 8' and found['count'] == 40
    assert abs(found['shares']['3'] - 0.75) < 0.06 and abs(found['shares']['8'] - 0.25) < 0.06
    assert said['judged as'].startswith('3: 7') and said['class shares'] == path


@pytest.mark.parametrize('changes', [{'dataset': 'emoji'}, {'image_channels': 3}, {'image_width': 4}])
def test_images_that_the_classifier_does_not_know_have_no_shares(tmp_path, changes):
    data = OPTIONS.replace(**{'dataset': 'digits', **changes}).data
    images = np.zeros([1, *data.image_shape], np.uint8)
    assert agreement.judged(data, '3', images, str(tmp_path / 'a.json')) == {}
    assert not list(tmp_path.iterdir())
