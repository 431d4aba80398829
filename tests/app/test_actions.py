"""What the app does, without a browser: draw, inpaint, blend, compose, score, stop."""

import numpy as np
import pytest
from helpers.small_models import PRECONDITIONED, moved_model

import drl_tf
from drl_tf.app import actions, limits
from drl_tf.app.actions import Choice
from drl_tf.base.errors import UserError

OF_DIGITS = PRECONDITIONED.replace(dataset='digits', image_size=8, num_classes=10)


@pytest.fixture(scope='module')
def small():
    """A model of 8 px with the classes of digits, whose weights are random."""
    return drl_tf.EnergyModel(moved_model(OF_DIGITS))


def test_draws_what_generate_draws_and_the_way_there(small):
    shares = []
    choice = Choice(label=3, guidance=0.5, seed=7, num=2, num_steps=3)
    images, states = actions.draw(small, choice, lambda share, what: shares.append(share))
    np.testing.assert_array_equal(images, small.generate(2, labels=3, guidance=0.5, seed=7, num_steps=3))
    assert len(states) == 4 and states[-1] is images
    assert shares == pytest.approx([0, 1 / 3, 2 / 3, 1])
    far = [np.abs(state.astype(float) - images).mean() for state in states]
    assert far == sorted(far, reverse=True) and far[0] > 5


def _blend(model, progress):
    return actions.blend(model, Choice(num=0), Choice(num=1), 2, progress)


@pytest.mark.parametrize(
    'work', [lambda model, progress: actions.draw(model, Choice(num=2), progress), _blend]
)
def test_work_ends_where_progress_raises(small, work):
    seen = []

    def stop(share, what):
        seen.append(share)
        if share > 0.3:
            raise UserError('stopped')

    with pytest.raises(UserError, match='stopped'):
        work(small, stop)
    assert seen[-1] == pytest.approx(1 / 3)


@pytest.mark.parametrize('num', [0, limits.MOST_IMAGES + 1, None])
def test_the_number_of_images_is_bounded(small, num):
    with pytest.raises(UserError, match=f'images={num} must be a whole number from 1 to 25'):
        actions.draw(small, Choice(num=num))


def test_inpaints_the_hole_alone_and_several_ways(small, monkeypatch):
    """The results are those of `EnergyModel.inpaint` with successive seeds."""
    given, inpaint = [], small.inpaint
    monkeypatch.setattr(small, 'inpaint', lambda *values: given.append(values[2:]) or inpaint(*values))
    image = small.generate(1, labels=3)[0]
    hole = np.arange(8)[:, None, None] >= 4
    results = actions.inpaint(small, image, hole, Choice(label=3, seed=4, num=2))
    np.testing.assert_array_equal(results[:, :4], np.stack([image[:4]] * 2))
    assert (results[0] != results[1]).any()
    assert given == [(4, 3, 0.0), (5, 3, 0.0)]


def test_blends_between_two_samples(small):
    frames = actions.blend(small, Choice(label=3, num=3), Choice(label=8, num=8), num_frames=3)
    ends = np.concatenate([small.generate(1, labels=label, first=label) for label in (3, 8)])
    assert np.abs(frames[[0, -1]].astype(int) - ends).max() <= 1
    with pytest.raises(UserError, match='frames=1 must be'):
        actions.blend(small, Choice(num=0), Choice(num=1), num_frames=1)


def test_an_expression_of_one_class_draws_the_class(small):
    shares = []
    images = actions.compose(small, '3', 2, 5, lambda share, what: shares.append(share))
    assert np.abs(images.astype(int) - small.generate(2, labels=3, seed=5)).max() <= 1
    assert shares[-1] == pytest.approx(1) and len(shares) == 7
    assert (actions.compose(small, '3 & !8', 2, 5) != images).any()


def test_a_composition_is_drawn_in_batches_of_the_model():
    """Batches of two draw the same images as one batch of five."""
    found, sizes, shares = [], [], []
    for size in (5, 2):
        model = drl_tf.EnergyModel(moved_model(OF_DIGITS.replace(num_levels=2, sample_batch_size=size)))
        sample = model.model.sample

        def spy(count, *rest, sample=sample, **named):
            sizes.append(int(count))
            return sample(count, *rest, **named)

        model.model.sample = spy
        found.append(actions.compose(model, '0 & !2', 5, 3, lambda share, what: shares.append(share)))
    assert sizes == [5, 2, 2, 2] and shares[-1] == pytest.approx(1)
    assert np.abs(found[0].astype(int) - found[1]).max() <= 1


@pytest.mark.parametrize(
    ('text', 'line'),
    [
        ('3 &', 'expression=3 & is not understood at character 4'),
        ('12', 'expression=12: the model has 10 classes, from 0; there is no class 12'),
        ('3' * 300, 'the expression has 300 letters: give at most 200'),
    ],
)
def test_a_wrong_expression_is_a_sentence(small, text, line):
    with pytest.raises(UserError, match=line):
        actions.compose(small, text)


@pytest.mark.slow
def test_a_mixture_draws_with_its_seed(monkeypatch):
    """The heights of all classes are measured once per model."""
    small = drl_tf.EnergyModel(OF_DIGITS.replace(num_levels=2))
    measured = []

    def heights(model, labels, weights, after_level):
        measured.append((model, labels))
        after_level(1.0)
        return {label: np.zeros(small.num_levels + 1) for label in labels}

    monkeypatch.setattr(actions, 'class_heights', heights)
    first, other = (actions.compose(small, '3 | 8', 2, seed) for seed in (1, 2))
    assert first.shape == (2, 8, 8, 1) and (first != other).any()
    assert measured == [(small.model, list(range(10)))]


def test_scores_are_those_of_the_model():
    digits = drl_tf.EnergyModel.from_preset('digits')
    images = np.random.default_rng(0).integers(0, 256, [2, 16, 16, 1]).astype(np.uint8)
    scores, typicality = actions.score(digits, images)
    np.testing.assert_allclose(scores.energy, digits.anomaly_scores(images).energy, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(typicality, digits.typicality(images), rtol=1e-3, atol=1e-3)
    with pytest.raises(UserError, match='there is no picture'):
        actions.score(digits, images[:0])


def test_points_of_the_plane_can_be_drawn():
    plane = drl_tf.EnergyModel.from_preset('toy_checkerboard')
    assert actions.most_images(plane) > limits.MOST_IMAGES
    images, states = actions.draw(plane, Choice(num=limits.MOST_IMAGES + 1, num_steps=10))
    assert images.shape[1:] == (1, 1, 2) and len(states) > 1
