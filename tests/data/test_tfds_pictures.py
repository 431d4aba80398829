"""Broken pictures in files of tensorflow-datasets: named, skipped and counted, as in folders."""

import json
import logging
import os

import numpy as np
import pytest
from helpers import own_data

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import dataset_table, images, pipeline, preparation, tfds_pictures

BROKEN = (0, 5, 17)


@pytest.fixture(autouse=True)
def fresh():
    tfds_pictures.forget()


def of(dataset, **options):
    return dataset_table.resolve(config.Data(dataset=dataset, num_classes=-1, **options))


def numbers(shown):
    """The number of each picture, from its grey level."""
    grey = np.asarray(shown)[:, 0, 0, 0]
    return np.rint((grey + 1) * 12.75 if grey.dtype == np.float32 else grey / 10).astype(int).tolist()


def drawn(data, count, **kwargs):
    """Numbers and classes of the first batches of 4."""
    batches = list(pipeline.training_images(data, 4, seed=1, **kwargs).take(count).as_numpy_iterator())
    pictures, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    return numbers(pictures), labels.tolist()


@pytest.fixture(params=['tfds', 'tfrecords'])
def hurt(request, tmp_path):
    """Data with three broken training pictures and a test split, and the numbers of the sound ones."""
    names = {'image': 'photo', 'label': 'kind'} if request.param == 'tfds' else {}
    directory = own_data.store(tmp_path, 'of_a_colleague', splits=('train', 'test'), **names)
    left = own_data.break_records(directory, BROKEN, names.get('image', 'image'))
    if request.param == 'tfds':
        return of('tfds:of_a_colleague', data_dir=str(tmp_path)), left
    return of(f'tfrecords:{directory}'), left


def test_broken_pictures_are_named_skipped_and_counted(hurt, caplog):
    data, left = hurt
    assert pipeline.count_images(data, 'train') == len(left) == own_data.COUNT - len(BROKEN)
    for row in BROKEN:
        assert f'train.tfrecord-00000-of-00001 record {row}, a broken image: InvalidArg' in caplog.text
    assert '21 of 24 images usable, 3 broken' in caplog.text
    assert numbers(pipeline.load_images(data, 'train')) == left
    assert numbers(pipeline.load_images(data, 'train', limit=7)) == left[:7]
    assert pipeline.load_labels(data, 'train').tolist() == [number % 2 for number in left]
    assert pipeline.count_images(data, 'test') == own_data.COUNT
    shown, labels = drawn(data, 21)
    assert [sorted(epoch) for epoch in np.reshape(shown, [4, 21])] == [sorted(left)] * 4
    assert labels == [number % 2 + 1 for number in shown]
    assert caplog.text.count('a broken image') == len(BROKEN)


def test_streams_are_those_of_files_without_the_broken_records(tmp_path, monkeypatch):
    """From any step on, to the bit: what trains on the one resumes on the other."""
    monkeypatch.setattr(images, 'MAX_BYTES_IN_MEMORY', 1)
    directories = [own_data.store(tmp_path / name, splits=('train', 'test')) for name in ('hurt', 'without')]
    own_data.break_records(directories[0], BROKEN)
    own_data.rewrite(directories[1], lambda number, record: None if number in BROKEN else record)
    path = directories[1] / 'dataset_info.json'
    info = json.loads(path.read_text())
    (train,) = (split for split in info['splits'] if split['name'] == 'train')
    train['shardLengths'], train['numBytes'] = ['21'], '1'
    path.write_text(json.dumps(info))
    hurt, without = (of(f'tfrecords:{directory}') for directory in directories)
    shown, labels = drawn(hurt, 21)
    assert (shown, labels) == drawn(without, 21)
    assert drawn(hurt, 8, first_step=13)[0] == shown[52:]
    assert drawn(hurt, 21, rows=slice(2, 4))[0] == np.reshape(shown, [21, 4])[:, 2:].ravel().tolist()


def test_the_search_is_kept_beside_the_data_until_a_file_changes(tmp_path, caplog, capsys):
    directory = own_data.store(tmp_path, splits=('train', 'test'))
    own_data.break_records(directory, BROKEN)
    data = of(f'tfrecords:{directory}')
    assert pipeline.count_images(data, 'train') == 21
    assert 'checking 24 pictures of train' in capsys.readouterr().out
    tfds_pictures.forget()
    caplog.clear()
    assert pipeline.count_images(data, 'train') == 21
    assert 'checking' not in capsys.readouterr().out
    assert caplog.text.count('a broken image') == len(BROKEN)
    own_data.rewrite(directory, lambda number, record: own_data.with_broken_picture(record))
    os.utime(next(directory.glob('*-train*')), (0, 0))
    tfds_pictures.forget()
    with pytest.raises(UserError, match='holds no usable image: all 24 of train are broken'):
        pipeline.count_images(data, 'train')
    # Damaged, nested too deeply, or of another program.
    for text in ('{', '[' * 100_000, '[]', '{"train": {"files": 1}}'):
        (directory / 'broken_images.json').write_text(text)
        tfds_pictures.forget()
        assert pipeline.count_images(data, 'test') == own_data.COUNT


def test_data_that_cannot_be_written_beside_are_read_too(tmp_path, monkeypatch):
    directory = own_data.store(tmp_path, splits=('train', 'test'))
    own_data.break_records(directory, BROKEN)

    def refuse(*_):
        raise PermissionError('read-only')

    monkeypatch.setattr(type(directory), 'write_text', refuse)
    assert pipeline.count_images(of(f'tfrecords:{directory}'), 'train') == 21
    assert not list(directory.glob('broken_images*'))


def test_the_held_out_twentieth_is_of_the_records(tmp_path):
    """Its broken pictures are skipped; if no other is left there, that is said."""
    directory = own_data.store(tmp_path)
    own_data.break_records(directory, [3])
    data = of(f'tfrecords:{directory}')
    assert [pipeline.count_images(data, split) for split in ('train', 'test')] == [22, 1]
    own_data.rewrite(directory, lambda number, record: record if number < 23 else bytes(len(record)))
    (directory / 'broken_images.json').unlink()
    with pytest.raises(UserError, match='is damaged'):  # A record that is no example is no picture.
        tfds_pictures.forget()
        pipeline.count_images(data, 'train')
    directory = own_data.store(tmp_path / 'last')
    own_data.break_records(directory, [own_data.COUNT - 1])
    data = of(f'tfrecords:{directory}')
    assert pipeline.count_images(data, 'train') == 23
    with pytest.raises(UserError, match=r'no usable image in train\[23:\]'):
        pipeline.count_images(data, 'test')


def test_a_damaged_file_is_no_broken_picture(tmp_path):
    directory = own_data.store(tmp_path, splits=('train', 'test'))
    (path,) = directory.glob('*-train.tfrecord*')
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r'is damaged .*: remove it and prepare it again'):
        pipeline.count_images(of(f'tfrecords:{directory}'), 'train')


def test_what_is_prepared_from_them_has_the_sound_ones(hurt, tmp_path):
    data, left = hurt
    preparation.prepare(data, str(tmp_path / 'prepared'))
    prepared = of(f'tfrecords:{tmp_path}/prepared')
    assert sorted(numbers(pipeline.load_images(prepared, 'train'))) == sorted(left)


def test_one_process_at_a_time_prepares_a_directory(tmp_path, monkeypatch):
    """A second one is refused while the first one reads, and nothing is left beside the result."""
    data, target = of(f'tfrecords:{own_data.store(tmp_path)}'), str(tmp_path / 'prepared')
    read, tried = pipeline.image_batches, []

    def disturbed(*arguments):
        if not tried:
            tried.append(True)
            with pytest.raises(UserError, match=r'prepared\.part is in use by another run.*--output_dir'):
                preparation.prepare(data, target)
        yield from read(*arguments)

    (tmp_path / 'prepared.part' / 'files').mkdir(parents=True)  # As a killed run leaves it.
    (tmp_path / 'prepared.part' / 'files' / 'half').touch()
    monkeypatch.setattr(pipeline, 'image_batches', disturbed)
    preparation.prepare(data, target)
    assert tried and pipeline.count_images(of(f'tfrecords:{target}'), 'train') == own_data.COUNT - 1
    assert [path.name for path in tmp_path.glob('prepared*')] == ['prepared']


def test_pictures_without_a_class_are_said_and_trained_on_as_such(tmp_path, caplog):
    """The label -1 becomes the label 0 of the networks; if there is no other, that is refused."""
    caplog.set_level(logging.WARNING)

    def unlabelled(number, record):
        example = own_data.tf.train.Example.FromString(record)
        if number in rows:
            example.features.feature['label'].int64_list.value[0] = -1
        return example.SerializeToString()

    directory = own_data.store(tmp_path, splits=('train', 'test'))
    rows = BROKEN
    own_data.rewrite(directory, unlabelled)
    data = of(f'tfrecords:{directory}')
    labels = drawn(data, 6)[1]
    assert labels.count(0) == len(BROKEN) and set(labels) == {0, 1, 2}
    assert '3 of 24 pictures of the train split have no class (label -1)' in caplog.text
    rows = range(own_data.COUNT)
    own_data.rewrite(directory, unlabelled)
    with pytest.raises(UserError, match='all labels are -1, no class: drop --num_classes'):
        drawn(data, 1)
