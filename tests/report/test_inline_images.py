"""Images as data URIs: what they show, and how many fit."""

import base64
import io

import numpy as np
from PIL import Image

from drl_tf.report import inline_images


def shown(uri):
    head, data = uri.split(',')
    assert head.startswith('data:image/') and head.endswith(';base64')
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def saved(path, image):
    Image.fromarray(image).save(path)
    return str(path)


def test_an_array_comes_back_bit_by_bit():
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        image = rng.integers(0, 256, (5, 7, channels)).astype(np.uint8)
        found = shown(inline_images.of_array(image))
        np.testing.assert_array_equal(found.reshape(image.shape), image)


def test_a_large_picture_is_reduced_and_looks_alike(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 1600).astype(np.uint8), (400, 1))
    found = shown(inline_images.of_file(saved(tmp_path / 'a.png', ramp)))
    assert found.shape[:2] == (200, 800)
    grey = found[..., 0] if found.ndim == 3 else found
    np.testing.assert_allclose(grey[100], ramp[0, ::2], atol=6)


def test_a_picture_that_changes_is_read_again(tmp_path):
    path = saved(tmp_path / 'a.png', np.zeros((8, 8), np.uint8))
    before = inline_images.of_file(path)
    saved(tmp_path / 'a.png', np.full((9, 9), 200, np.uint8))
    assert inline_images.of_file(path) != before


def test_grids_beyond_the_budget_are_thinned_out_and_the_last_stays(tmp_path):
    rng = np.random.default_rng(0)
    grids = {
        step: saved(tmp_path / f'{step}.png', rng.integers(0, 256, (64, 64)).astype(np.uint8))
        for step in range(10, 130, 10)
    }
    problems = []
    everything = inline_images.of_grids(grids, problems)
    assert list(everything) == list(grids)
    size = sum(map(len, everything.values()))
    some = inline_images.of_grids(grids, problems, budget=size // 2)
    assert sum(map(len, some.values())) <= size // 2 and list(some) == [20, 40, 60, 80, 100, 120]
    assert not problems


def test_a_damaged_grid_is_left_out_with_one_sentence(tmp_path):
    grids = {step: saved(tmp_path / f'{step}.png', np.zeros((8, 8), np.uint8)) for step in (1, 2, 3)}
    (tmp_path / '2.png').write_bytes(b'no picture')
    problems = []
    assert list(inline_images.of_grids(grids, problems)) == [1, 3]
    assert problems == ['2.png is damaged, and is left out.']
    assert inline_images.of_file(str(tmp_path / 'missing.png')) is None
    assert inline_images.of_grids({}, problems) == {}
