import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf

from drl_tf.config import config
from drl_tf.data import dataset_table, digits, images, pipeline, tfds_datasets, tfds_reading

COUNT = 50
BATCH = 8


def marked_pictures(count, side=32):
    """Picture i has the value i in its left half and i + 100 in its right half: index and mirroring can be
    read off."""
    values = np.arange(count)[:, None] + np.where(np.arange(side) < side // 2, 0, 100)
    return np.broadcast_to(values[:, None, :, None], [count, side, side, 3]).astype(np.uint8)


@pytest.fixture(params=['memory', 'stream'])
def cifar(request, tmp_path, prepare):
    if request.param == 'stream':
        request.getfixturevalue('streamed')
    return cifar_of(COUNT, 3, tmp_path, prepare)


@pytest.fixture
def streamed(monkeypatch):
    monkeypatch.setattr(images, 'MAX_BYTES_IN_MEMORY', 0)
    monkeypatch.setattr(tfds_reading, 'RECORDS_SHUFFLED', 24)


def cifar_of(count, shards, tmp_path, prepare):
    prepare('cifar10', shards=shards, train=marked_pictures(count), test=marked_pictures(5))
    return config.Data(dataset='cifar10', data_dir=str(tmp_path))


def batches(data, count, batch_size=BATCH, seed=0, first_step=0, rows=slice(None)):
    dataset = pipeline.training_images(data, batch_size, seed, first_step, rows)
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def to_bytes(batch):
    return np.rint((batch + 1) * 127.5).astype(np.uint8)


def marks(data, count, batch_size=BATCH, **options):
    """Index and mirroring of the first `count` images."""
    stream = to_bytes(np.concatenate(batches(data, -(-count // batch_size), batch_size, **options)))[:count]
    left, right = stream[:, 0, 0, 0].astype(int), stream[:, 0, -1, 0].astype(int)
    np.testing.assert_array_equal(abs(left - right), 100)
    return np.minimum(left, right), left > right


def test_batches_are_float_images_within_minus_one_and_one():
    dataset = pipeline.training_images(config.Data(), 64, seed=0)
    assert dataset.element_spec == tf.TensorSpec([64, 32, 32, 1], tf.float32)
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    (batch,) = batches(config.Data(), 1, 64)
    assert (batch.min(), batch.max()) == (-1, 1)


def test_streams_have_a_static_shape(cifar):
    assert pipeline.training_images(cifar, BATCH, 0).element_spec == tf.TensorSpec(
        [BATCH, 32, 32, 3], tf.float32
    )


def test_a_resumed_order_is_the_order(cifar):
    run = batches(cifar, 42)
    for step in (1, 6, 7, 40):
        np.testing.assert_array_equal(batches(cifar, 2, first_step=step), run[step : step + 2])


def test_a_resumed_order_of_digits_is_the_order():
    run = batches(config.Data(), 15, 300)
    np.testing.assert_array_equal(batches(config.Data(), 3, 300, first_step=12), run[12:])


def test_every_epoch_holds_every_image_once(cifar):
    """Whatever is streamed in batches of an odd size has one strand."""
    indices, _ = marks(cifar, 4 * COUNT, batch_size=5)
    epochs = indices.reshape(4, COUNT)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(COUNT), [4, 1]))
    assert len({tuple(epoch) for epoch in epochs}) == 4


@pytest.mark.parametrize('shards', [1, 3])
def test_every_strand_goes_through_its_own_images(tmp_path, prepare, streamed, shards):
    """Eight strands of six or seven images for 84 steps, 14 or 12 epochs."""
    indices = marks(cifar_of(COUNT, shards, tmp_path, prepare), 84 * BATCH)[0]
    strands = [
        row.reshape(-1, COUNT * (k + 1) // 8 - COUNT * k // 8)
        for k, row in enumerate(indices.reshape(84, BATCH).T)
    ]
    for epochs in strands:
        assert (np.sort(epochs) == np.sort(epochs[0])).all() and len({tuple(epoch) for epoch in epochs}) > 6
    assert sorted(np.concatenate([epochs[0] for epochs in strands])) == list(range(COUNT))
    assert set(np.bincount(indices)) == {12, 14}


def test_strands_are_consecutive_records_each_in_an_order_of_its_own(tmp_path, prepare, streamed):
    data = cifar_of(48, 1, tmp_path, prepare)
    place_in_file = np.argsort(pipeline.load_images(data, 'train')[:, 0, 0, 0])
    places = place_in_file[marks(data, 48)[0]].reshape(6, BATCH) - 6 * np.arange(BATCH)
    np.testing.assert_array_equal(np.sort(places, axis=0), np.tile(np.arange(6)[:, None], BATCH))
    assert len({tuple(order) for order in places.T}) > 6


def test_there_are_no_more_strands_than_images(tmp_path, prepare, streamed):
    first, second = np.split(marks(cifar_of(3, 1, tmp_path, prepare), 16, batch_size=16)[0], 2)
    assert (len({*first}), len({*second}), len({*first, *second})) == (1, 2, 3)


def test_a_worker_reads_its_own_files(tmp_path, prepare, streamed):
    """Of three files, each of two workers needs two, and both need the middle one."""
    data, read = cifar_of(COUNT, 3, tmp_path, prepare), [{0, 1}, {1, 2}]
    files = sorted(tmp_path.rglob('*train.tfrecord*'))
    for worker, rows in enumerate((slice(0, 4), slice(4, 8))):
        whole = batches(data, 14, rows=rows)
        dataset = pipeline.training_images(data, BATCH, 0, rows=rows).take(14)
        for index, file in enumerate(files):
            file.rename(tmp_path / 'away')
            if index in read[worker]:
                with pytest.raises(tf.errors.NotFoundError):
                    list(dataset)
            else:
                np.testing.assert_array_equal(list(dataset.as_numpy_iterator()), whole)
            (tmp_path / 'away').rename(file)


def test_every_epoch_holds_every_digit_once_and_never_mirrored():
    run = to_bytes(np.concatenate(batches(config.Data(), 27, 300)))
    expected = collections.Counter(digit.tobytes() for digit in digits.load('train')[0])
    for epoch in (run[:4000], run[4000:8000]):
        assert collections.Counter(digit.tobytes() for digit in epoch) == expected


def test_labels_go_with_their_images():
    data = config.Data(num_classes=10)
    images, labels = next(pipeline.training_images(data, 50, seed=3).as_numpy_iterator())
    known = {image.tobytes(): label for image, label in zip(*digits.load('train'), strict=True)}
    pixels = np.round((images + 1) * 127.5).astype(np.uint8)
    assert [known[image.tobytes()] + 1 for image in pixels] == labels.tolist()


def test_the_order_mixes(cifar):
    indices, _ = marks(cifar, COUNT)
    assert abs(np.corrcoef(indices, np.arange(COUNT))[0, 1]) < 0.5
    assert np.mean(abs(np.diff(indices)) == 1) < 0.2


@pytest.mark.parametrize('limit', [0, images.MAX_BYTES_IN_MEMORY])
def test_a_tenth_of_celeb_a_hq_is_held_out(tmp_path, prepare, monkeypatch, limit):
    monkeypatch.setattr(images, 'MAX_BYTES_IN_MEMORY', limit)
    prepare('celeb_a_hq/128', shards=3, train=marked_pictures(20, side=128))
    data = config.Data(dataset='celeb_a_hq', data_dir=str(tmp_path))
    held_out = pipeline.load_images(data, 'test')[:, 0, 0, 0]
    for epoch in marks(data, 36, batch_size=9)[0].reshape(2, 18):
        assert sorted([*epoch, *held_out]) == list(range(20))


def test_a_part_of_a_split_can_be_streamed(tmp_path, prepare):
    prepare('celeb_a_hq/128', shards=3, train=marked_pictures(20, side=128))
    data = dataset_table.resolve(config.Data(dataset='celeb_a_hq', data_dir=str(tmp_path)))
    builder = tfds_datasets.open_builder(data)
    streamed = list(
        tfds_reading.stream(builder, 'train[10%:]', data, 0, 18, 0, slice(None)).take(18).as_numpy_iterator()
    )
    loaded = tfds_reading.load(builder, 'train[10%:]', data)
    assert sorted(image.tobytes() for image, _ in streamed) == sorted(image.tobytes() for image in loaded)


def test_files_come_in_another_order_each_epoch(tmp_path, prepare, streamed):
    indices, _ = marks(cifar_of(10, 5, tmp_path, prepare), 200, batch_size=5)
    assert len({frozenset(epoch[:2]) for epoch in indices.reshape(20, 10)}) == 5


def test_another_seed_is_another_order(cifar):
    (first, flips), (second, other_flips) = (marks(cifar, COUNT, batch_size=5, seed=seed) for seed in (0, 1))
    assert np.mean(first == second) < 0.2
    assert np.mean(flips == other_flips) < 0.8


def test_the_global_seed_of_tensorflow_changes_nothing(cifar):
    run = batches(cifar, 8)
    tf.random.set_seed(1)
    np.testing.assert_array_equal(batches(cifar, 8), run)


def test_about_half_are_mirrored_and_not_always_the_same(cifar):
    indices, mirrored = marks(cifar, 8 * COUNT)
    assert abs(mirrored.mean() - 0.5) < 0.1
    per_image = [mirrored[indices == index].mean() for index in range(COUNT)]
    assert np.mean((np.array(per_image) > 0) & (np.array(per_image) < 1)) > 0.9
    assert len({tuple(epoch) for epoch in mirrored.reshape(8, COUNT)}) == 8


def test_house_numbers_are_never_mirrored(tmp_path, prepare):
    prepare('svhn_cropped', train=marked_pictures(COUNT), test=marked_pictures(1))
    _, mirrored = marks(config.Data(dataset='svhn_cropped', data_dir=str(tmp_path)), 2 * COUNT)
    assert not mirrored.any()


def test_a_batch_may_be_larger_than_the_dataset(cifar):
    (batch,) = batches(cifar, 1, batch_size=3 * COUNT)
    assert np.bincount(np.minimum(*to_bytes(batch)[:, 0, [0, -1], 0].T)).tolist() == [3] * COUNT


def test_images_for_evaluation_are_in_a_fixed_order_and_not_mirrored(cifar):
    loaded = pipeline.load_images(cifar, 'train')
    assert (loaded[:, 0, 0] < loaded[:, 0, -1]).all()
    np.testing.assert_array_equal(pipeline.load_images(cifar, 'train'), loaded)
    np.testing.assert_array_equal(pipeline.load_images(cifar, 'train', limit=3), loaded[:3])
    assert len(pipeline.load_images(cifar, 'test')) == 5
    for limit in (None, 3):
        np.testing.assert_array_equal(
            np.concatenate(list(pipeline.image_batches(cifar, 'train', limit))), loaded[:limit]
        )


def test_workers_rows_are_those_of_the_batch():
    """Two workers of two replicas each: in turn the rows of each replica, from any step on."""
    whole = list(pipeline.training_images(config.Data(), 8, 5, first_step=3).take(2).as_numpy_iterator())
    for worker in range(2):
        rows = slice(worker * 4, worker * 4 + 4)
        parts = list(
            pipeline.training_images(config.Data(), 8, 5, 3, rows, at_once=2).take(4).as_numpy_iterator()
        )
        np.testing.assert_array_equal(np.concatenate(parts), np.concatenate([batch[rows] for batch in whole]))


@pytest.mark.slow
def test_any_shares_of_workers_make_the_batch(cifar):
    """A batch of 12 has four strands of three rows."""
    run = batches(cifar, 31, 12)
    for shares, step in (((3, 3, 3, 3), 0), ((1, 4, 7), 21)):
        ends = np.cumsum(shares)
        parts = [
            batches(cifar, 10, 12, first_step=step, rows=slice(end - share, end))
            for end, share in zip(ends, shares, strict=True)
        ]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), run[step : step + 10])
