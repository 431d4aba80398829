"""Statistics of real images: one pass, saved with the extractor's hash, refused where they do not match."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from drl_tf.base.errors import UserError
from drl_tf.data.indexed import random_places
from drl_tf.evaluation.metrics import statistics
from drl_tf.evaluation.metrics.extractors import INCEPTION_FEATURES, Extractor

PLAIN = Extractor(
    'plain', 'abcdef012345', 'none', lambda images: (images.reshape(len(images), -1).astype(np.float32), None)
)
INCEPTION = dataclasses.replace(PLAIN, name='inception', inception='standard')


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, [50, 2, 2, 1], dtype=np.uint8)


@pytest.fixture
def found(images):
    return statistics.summarise(PLAIN, [images[:20], images[20:27], images[27:]], 'pictures', keep=25)[0]


def test_one_pass_over_batches_gives_mean_and_covariance(images, found):
    features = images.reshape(50, 4).astype(np.float64)
    np.testing.assert_allclose(found.mean, features.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(features.T), rtol=1e-12)
    np.testing.assert_array_equal(found.features, features[:25])
    assert found.count == 50


def test_features_of_random_images_are_kept_after_an_interruption_too(tmp_path, images, counting):
    """12 of 50 images that may be ordered by class; a part file with the first 12 is not continued."""
    (extractor, seen), batches, part = counting, np.split(images, 10), tmp_path / 'part.npz'
    statistics.summarise(extractor, batches, 'pictures', 12, part=part)
    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        statistics.summarise(extractor, counted(batches, 4), 'pictures', 12, part=part, total=50)
    found, _ = statistics.summarise(extractor, batches, 'pictures', 12, part=part, total=50)
    assert sum(seen) == 50
    np.testing.assert_array_equal(found.features, images.reshape(50, 4)[random_places(12, 50)])


def test_features_of_all_images_are_those_of_the_first(tmp_path, images, counting):
    """A part file of all images is continued, whether or not their number is known."""
    (extractor, seen), part = counting, tmp_path / 'part.npz'
    for total in (0, 50):
        found, _ = statistics.summarise(extractor, [images], 'pictures', 60, part=part, total=total)
        np.testing.assert_array_equal(found.features, images.reshape(50, 4))
    assert sum(seen) == 50


def test_a_file_holds_all_of_it(tmp_path, found):
    found.save(tmp_path / 's.npz')
    again = statistics.load(tmp_path / 's.npz', PLAIN)
    for field in dataclasses.fields(found):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(found, field.name))


@pytest.mark.parametrize('change', [dict(name='other'), dict(weights_hash='0'), dict(resize='bilinear')])
def test_statistics_of_another_extractor_are_refused(tmp_path, found, change):
    found.save(tmp_path / 's.npz')
    with pytest.raises(
        UserError, match=r'--stats_file=.*is of the extractor plain \(abcdef012345, none\), the scores are of'
    ):
        statistics.load(tmp_path / 's.npz', dataclasses.replace(PLAIN, **change))


def test_damaged_files_are_refused(tmp_path, found):
    path = tmp_path / 's.npz'
    found.save(path)
    content = path.read_bytes()
    middle = content.index(found.covariance.tobytes()) + 9
    for damaged in (
        b'',
        content[:-1],
        content[: len(content) // 2],
        content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r's\.npz cannot be read'):
            statistics.load(path, PLAIN)
    with pytest.raises(UserError, match='cannot be read'):
        statistics.load(tmp_path / 'absent.npz', PLAIN)


def test_other_files_are_refused(tmp_path, found):
    path = tmp_path / 's.npz'
    np.savez(path, something=np.zeros(3))
    with pytest.raises(UserError, match='holds no statistics'):
        statistics.load(path, PLAIN)
    dataclasses.replace(found, mean=found.mean[:3]).save(path)
    with pytest.raises(UserError, match='holds no statistics'):
        statistics.load(path, PLAIN)
    np.savez(path, pool_3=np.array([{}], object))
    with pytest.raises(UserError, match='cannot be read'):
        statistics.load(path, INCEPTION)


def test_activations_of_inception_are_taken_for_inception_alone(tmp_path):
    activations = np.random.default_rng(0).normal(size=[30, INCEPTION_FEATURES]).astype(np.float32)
    path = tmp_path / 'cifar10.npz'
    np.savez(path, pool_3=activations)
    found = statistics.load(path, INCEPTION)
    np.testing.assert_allclose(found.mean, activations.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.covariance, np.cov(activations.T), atol=1e-6)
    assert (
        (found.count, found.extractor_hash) == (30, '')
        and len(found.features) == 30
        and str(path) in found.images
    )
    for extractor in (PLAIN, dataclasses.replace(PLAIN, name='stand_in_for_inception', inception='stand-in')):
        with pytest.raises(
            UserError, match=f'holds activations of Inception, the scores are of {extractor.name}'
        ):
            statistics.load(path, extractor)
    for wrong, words in [
        (activations[0], r'not float \[N, 2048\]'), (activations[:, :5], r'not float \[N, 2048\]'),
        (np.full_like(activations, np.nan), 'not all finite'),
    ]:  # fmt: skip
        np.savez(path, pool_3=wrong)
        with pytest.raises(UserError, match=f'{path} holds .*{words}'):
            statistics.load(path, INCEPTION)


def counted(batches, limit):
    """The batches until that many were taken, then an interruption; and those that the extractor saw."""
    for index, batch in enumerate(batches):
        if index == limit:
            raise KeyboardInterrupt
        yield batch


@pytest.fixture
def counting(monkeypatch):
    """An extractor of which every batch is saved at once, and the numbers of images that it has seen."""
    monkeypatch.setattr(statistics, 'SAVE_SECONDS', 0)
    monkeypatch.setattr(statistics, 'SAVE_TIMES', 0)
    seen = []

    def run(images):
        seen.append(len(images))
        features = images.reshape(len(images), -1).astype(np.float32)
        return features, -features

    return dataclasses.replace(PLAIN, run=run), seen


def test_a_pass_that_was_interrupted_goes_on(tmp_path, images, counting):
    """No image is run twice, and what comes out is the same to the last bit."""
    (extractor, seen), batches, part = counting, np.split(images, 10), tmp_path / 'part.npz'
    whole, logits = statistics.summarise(extractor, batches, 'pictures', 12, classify=True)
    with pytest.raises(KeyboardInterrupt):
        statistics.summarise(extractor, counted(batches, 4), 'pictures', 12, classify=True, part=part)
    seen.clear()
    again, logits_again = statistics.summarise(extractor, batches, 'pictures', 12, classify=True, part=part)
    assert sum(seen) == 30
    np.testing.assert_array_equal(logits_again, logits)
    for field in dataclasses.fields(whole):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(whole, field.name))


def test_a_pass_begins_anew_for_other_images(tmp_path, images, counting):
    """A pass begins anew for a set of another name, for changed images after one refusal, and where the file
    of its part is damaged."""
    (extractor, seen), batches, part = counting, np.split(images, 10), tmp_path / 'part.npz'

    def summarised(batches, name, count):
        seen.clear()
        found, _ = statistics.summarise(extractor, batches, name, 12, part=part)
        assert sum(seen) == count
        return found

    for name, count in [('pictures', 50), ('others', 50), ('pictures', 50), ('pictures', 0)]:
        whole = summarised(batches, name, count)
    changed = [images[:5] ^ 1, *batches[1:]]
    with pytest.raises(UserError, match=f'{part} is of other images than there are now'):
        summarised(changed, 'pictures', 0)
    assert summarised(changed, 'pictures', 50).fingerprint != whole.fingerprint
    part.write_bytes(part.read_bytes()[:-9])
    summarised(batches, 'pictures', 50)


def test_memory_does_not_grow_with_the_images(images):
    """Features that are not to be kept, and logits that nobody asked for, are let go."""
    wide = dataclasses.replace(
        PLAIN, run=lambda images: (np.ones([len(images), 512], np.float32), np.ones([len(images), 256]))
    )
    tracemalloc.start()
    peaks = []
    for parts in (5, 40):
        tracemalloc.reset_peak()
        statistics.summarise(
            wide, (np.zeros([1000, 1, 1, 1], np.uint8) for _ in range(parts)), 'pictures', keep=100
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.1


def test_too_few_images_and_features_that_are_not_finite(images):
    with pytest.raises(UserError, match='1 images are too few'):
        statistics.summarise(PLAIN, [images[:1]], 'pictures')
    broken = dataclasses.replace(
        PLAIN, run=lambda images: (np.full([len(images), 4], np.nan, np.float32), None)
    )
    with pytest.raises(UserError, match='finite'):
        statistics.summarise(broken, [images], 'pictures')


def test_a_pass_that_ends_before_what_was_seen_is_refused(tmp_path, images):
    """40 of 50 images are left: no mean of the 50 is given out for theirs."""
    part = str(tmp_path / 'part.npz')
    statistics.summarise(PLAIN, [images], 'pictures', part=part)
    with pytest.raises(UserError, match='of other images than there are now: it was removed'):
        statistics.summarise(PLAIN, [images[:40]], 'pictures', part=part)
    assert statistics.summarise(PLAIN, [images[:40]], 'pictures', part=part)[0].count == 40
