"""Points of the plane: what the sets are, and that they come as images do."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import dataset_table, pipeline, plane

COUNT = 65_536


def sample(name, seed=0, batch=0):
    points = plane.points(name, seed, batch, COUNT)
    assert points.shape == (COUNT, 1, 1, 2) and points.dtype == np.float32
    return points.reshape(-1, 2)


@pytest.mark.parametrize('name', plane.SETS)
def test_sets_lie_within_bounds_and_change_with_seed_and_batch(name):
    points = sample(name)
    assert np.abs(points).max() < 1.02 and np.abs(points).max() > 0.8
    np.testing.assert_array_equal(points, sample(name))
    others = [sample(name, 1), sample(name, 0, 1)]
    assert all((points == other).mean() < 0.01 for other in others)


def test_checkerboard():
    """Uniform on every other square: as many in each, and in each quarter of one."""
    board = np.floor((sample('toy_checkerboard') + 1) * 2).astype(int)
    assert (board.sum(axis=1) % 2 == 0).all()
    squares, counts = np.unique(board, axis=0, return_counts=True)
    assert len(squares) == 8
    np.testing.assert_allclose(counts, COUNT / 8, rtol=0.06)
    quarters = np.floor((sample('toy_checkerboard') + 1) * 4).astype(int) % 2
    np.testing.assert_allclose(np.unique(quarters, axis=0, return_counts=True)[1], COUNT / 4, rtol=0.04)


def test_eight_gaussians():
    """Around eight points of a circle, with the same deviation in all directions."""
    points = sample('toy_8gaussians')
    angle = np.round(np.arctan2(points[:, 1], points[:, 0]) / (np.pi / 4)) * np.pi / 4
    offset = points - 0.7 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    np.testing.assert_allclose(np.cov(offset.T), 0.05**2 * np.eye(2), atol=0.05**2 * 0.03)
    assert len(np.unique(np.round(angle / (np.pi / 4)).astype(int) % 8)) == 8


def test_two_moons():
    """Off two half circles by a Gaussian alone."""
    points, upper = sample('toy_two_moons') * 1.75 + [0.5, 0.25], []
    for sign, centre in ((1, [0, 0]), (-1, [1, 0.5])):
        arm = (points - centre) * [1, sign]
        upper.append(
            np.where(
                arm[:, 1] > 0,
                np.abs(np.linalg.norm(arm, axis=1) - 1),
                np.linalg.norm(np.abs(arm) - [1, 0], axis=1),
            )
        )
    distance = np.minimum(*upper)
    assert np.sqrt(np.mean(distance**2)) == pytest.approx(0.03 * 1.75, rel=0.05)
    assert np.mean(upper[0] < upper[1]) == pytest.approx(0.5, abs=0.02)


def test_swiss_roll():
    """A spiral whose radius grows with the angle, three halves of a turn to nine."""
    points = sample('toy_swiss_roll')
    radius, turned = (
        np.linalg.norm(points, axis=1) / 0.92 * 4.5 * np.pi,
        np.arctan2(points[:, 1], points[:, 0]),
    )
    off = (radius - turned + np.pi) % (2 * np.pi) - np.pi
    assert np.std(off) * 0.92 / (4.5 * np.pi) == pytest.approx(0.015, rel=0.1)
    assert radius.min() > 1.1 * np.pi and radius.max() < 4.9 * np.pi


@pytest.mark.parametrize('step', [1, 30])
def test_a_resumed_order_is_the_order(step):
    data = dataset_table.resolve(config.Data(dataset='toy_two_moons'))

    def batches(first, count):
        return list(itertools.islice(pipeline.training_images(data, 8, 3, first).as_numpy_iterator(), count))

    run = batches(0, 33)
    np.testing.assert_array_equal(batches(step, 3), run[step : step + 3])
    np.testing.assert_array_equal(run, [plane.points('toy_two_moons', 3, batch, 8) for batch in range(33)])
    mine = itertools.islice(
        pipeline.training_images(data, 8, 3, step, slice(2, 6), at_once=2).as_numpy_iterator(), 4
    )
    np.testing.assert_array_equal(
        np.concatenate(list(mine)), np.concatenate([run[step][2:6], run[step + 1][2:6]])
    )


def test_batches_are_known_to_be_endless():
    """Otherwise tf.distribute does not know their size in a run of several workers."""
    data = dataset_table.resolve(config.Data(dataset='toy_two_moons'))
    batches = pipeline.training_images(data, 8, 3, rows=slice(2, 6), at_once=2)
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY
    assert batches.element_spec.shape == (2, 1, 1, 2)


def test_what_points_are_not():
    def refused(**options):
        with pytest.raises(UserError) as error:
            dataset_table.resolve(config.Data(**options))
        return str(error.value)

    assert '--image_channels=3' in refused(dataset='toy_swiss_roll', image_channels=3)
    assert '--image_channels=2' in refused(dataset='digits', image_channels=2)
    assert '--image_size=32' in refused(dataset='toy_swiss_roll', image_size=32)
    data = dataset_table.resolve(config.Data(dataset='toy_swiss_roll'))
    assert config.Config(data=data, network=config.Network(channel_mult=(1,))).planar
    for network, word in (
        (dict(channel_mult=(1, 2)), 'channel_mult'),
        (dict(attention=True), 'attention'),
        (dict(norm='batch'), 'norm'),
    ):
        with pytest.raises(UserError, match=word):
            config.Config(data=data, network=config.Network(**{'channel_mult': (1,), **network}))
