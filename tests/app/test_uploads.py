"""What the user gives the app: pictures of any size, bad files, painted masks."""

import numpy as np
import pytest
from PIL import Image

from drl_tf.app import limits, uploads
from drl_tf.base.errors import UserError


def saved(path, pixels):
    Image.fromarray(pixels).save(path)
    return str(path)


def test_a_picture_is_cut_and_resized(tmp_path):
    halves = np.zeros([40, 80, 3], np.uint8)
    halves[:, 40:] = 255
    grey = uploads.read_picture(saved(tmp_path / 'a.png', halves), (16, 16, 1))
    assert grey.shape == (16, 16, 1) and grey[:, :6].max() < 20 and grey[:, 10:].min() > 235
    inverted = uploads.read_picture(str(tmp_path / 'a.png'), (16, 16, 1), invert=True)
    np.testing.assert_array_equal(inverted, 255 - grey)
    assert uploads.read_picture(str(tmp_path / 'a.png'), (8, 8, 3)).shape == (8, 8, 3)


def test_a_file_that_is_no_picture_is_refused(tmp_path):
    (tmp_path / 'a.png').write_text('text')
    with pytest.raises(UserError, match=r'^a\.png is not a picture that can be read'):
        uploads.read_picture(str(tmp_path / 'a.png'), (16, 16, 1))


def test_a_truncated_picture_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, [64, 64], np.uint8)
    path = saved(tmp_path / 'a.jpg', noise)
    whole = (tmp_path / 'a.jpg').read_bytes()
    (tmp_path / 'a.jpg').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r'^a\.jpg is not a picture that can be read'):
        uploads.read_picture(path, (16, 16, 1))


@pytest.mark.parametrize(
    ('name', 'line'), [('MOST_PIXELS', '100 pixels: give at most 99'), ('MOST_BYTES', 'larger')]
)
def test_a_picture_that_is_too_large_is_refused(tmp_path, monkeypatch, name, line):
    path = saved(tmp_path / 'a.png', np.zeros([10, 10], np.uint8))
    monkeypatch.setattr(limits, name, {'MOST_PIXELS': 99, 'MOST_BYTES': 10}[name])
    with pytest.raises(UserError, match=line):
        uploads.read_picture(path, (16, 16, 1))


def test_painted_pixels_are_missing():
    layer = np.zeros([32, 64, 4], np.uint8)
    layer[4:8, 16:24, 3] = 255  # Row 2 to 3 and column 4 to 5 of 16 x 16.
    hole = uploads.missing((16, 16, 1), uploads.PAINTED, {'layers': [layer]})
    assert np.argwhere(hole[..., 0]).tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]
    assert uploads.missing((4, 4, 1), uploads.HALF)[:, 0, 0].tolist() == [False, False, True, True]


@pytest.mark.parametrize('painted', [None, {'layers': [np.zeros([8, 8, 4], np.uint8)]}])
def test_nothing_painted_is_a_sentence(painted):
    with pytest.raises(UserError, match='nothing is painted'):
        uploads.missing((16, 16, 1), uploads.PAINTED, painted)
