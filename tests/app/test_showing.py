"""What the app shows: sheets, maps, tables and sentences."""

import numpy as np

from drl_tf.app import showing
from drl_tf.runs.scores import Scores


def scores(heights=True):
    energy = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    maps = np.zeros([2, 2, 4, 4], np.float32)
    maps[1, :, 0, 0] = 5
    known = (energy + 10, energy + 20) if heights else (None, None)
    return Scores(np.array([0, 3], np.int32), 3, energy, energy, maps, *known)


def test_a_sheet_enlarges_by_a_whole_factor():
    images = np.zeros([2, 16, 16, 1], np.uint8)
    images[1] = 255
    found = np.asarray(showing.sheet(images))
    assert found.shape == (194, 388)
    assert (found[1:-1, 1:193] == 0).all() and (found[1:-1, 195:-1] == 255).all()
    assert showing.sheet(np.zeros([50, 1, 1, 2], np.float32)).size == (386, 386)


def test_the_table_has_the_scoring_level():
    rows = showing.table(['a', 'b'], scores(), np.array([0.5, 7.25]))
    assert rows == [['a', '2', '2.236', '22', '12', '0.5'], ['b', '4', '5', '24', '14', '7.25']]
    assert len(rows[0]) == len(showing.COLUMNS)
    assert showing.table(['a'], scores(heights=False), None)[0][3:] == ['unknown'] * 3


def test_a_map_is_bright_where_the_image_is_unlikely():
    found = np.asarray(showing.maps(np.zeros([2, 4, 4, 1], np.uint8), scores())).astype(int)
    bright = np.argwhere(found.sum(axis=-1) > 500)
    columns = found.shape[1]  # Of image, map, image, map.
    assert len(bright) and bright[:, 1].min() > 0.7 * columns and bright[:, 1].max() < 0.85 * columns


def test_the_verdict_names_what_is_atypical():
    assert showing.verdict(['a', 'b', 'c'], np.array([1.0, 2.0, 9.0])).endswith('3 deviations: c.')
    assert showing.verdict(['a'], None).startswith('The model has no log Z')
