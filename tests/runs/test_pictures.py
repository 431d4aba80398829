"""Grids of images."""

import numpy as np

from drl_tf.runs import pictures


def test_grids_have_sensible_shapes_and_say_the_classes():
    """Ten images are two rows, sixteen a square, also where there are ten classes."""
    for count, shape in ((10, (2, 5)), (16, (4, 4)), (7, (3, 3)), (1, (1, 1))):
        images = np.zeros([count, 2, 2, 1], np.uint8)
        assert pictures.grid(images, 10).shape[:2] == pictures.grid(images).shape[:2] == shape
    assert pictures.class_captions(np.arange(3), 10) == {'captions': [['0', '1', '2']]}
    assert pictures.class_captions(np.arange(6) % 3, 3) == {'side': ['0', '1', '2']}


def test_a_row_of_the_grid_is_a_class():
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    assert pictures.grid(images, 3)[..., 0, 0, 0].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert pictures.grid(images)[..., 0, 0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    more = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    assert pictures.grid(more, 3)[..., 0, 0, 0].tolist() == [[0, 3, 6], [1, 4, 0], [2, 5, 0]]
