import numpy as np
import pytest
import requests
from helpers import own_data

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import dataset_table, downloads, emoji, images, pipeline, tfds_datasets, tfds_reading


def smooth_pictures(height, width):
    """Three ramps that JPEG keeps to within a few units."""
    rows, columns = np.mgrid[:height, :width]
    ramp = np.stack(
        [rows * 200 / height, columns * 200 / width, (rows + columns) * 100 / (height + width)], -1
    )
    return [(ramp + shift).astype(np.uint8) for shift in (0, 25, 50)]


def data_of(dataset, directory, size=0):
    return dataset_table.resolve(config.Data(dataset=dataset, data_dir=str(directory), image_size=size))


def in_order_of_brightness(loaded):
    return sorted(loaded.astype(int), key=np.sum)


@pytest.mark.parametrize(
    ('dataset', 'name', 'size', 'shape'),
    [
        ('celeb_a', 'celeb_a', 64, (218, 178)),
        ('lsun_church', 'lsun/church_outdoor', 64, (256, 300)),
        ('lsun_bedroom', 'lsun/bedroom', 128, (300, 256)),
    ],
)
def test_pictures_arrive_cropped_and_resized(tmp_path, prepare, dataset, name, size, shape):
    pictures = smooth_pictures(*shape)
    prepare(name, train=pictures, validation=pictures[:1], test=pictures[:1])
    data = data_of(dataset, tmp_path, size)
    loaded = pipeline.load_images(data, 'train')
    assert (loaded.shape, loaded.dtype) == ((3, size, size, 3), np.uint8)
    expected = [images.crop_and_resize(picture, data) for picture in pictures]
    np.testing.assert_allclose(in_order_of_brightness(loaded), expected, atol=4)
    assert len(pipeline.load_images(data, 'train', limit=2)) == 2


@pytest.mark.parametrize(
    ('dataset', 'shape'),
    [
        ('cifar10', (32, 32, 3)),
        ('cifar100', (32, 32, 3)),
        ('svhn_cropped', (32, 32, 3)),
        ('mnist', (28, 28, 1)),
    ],
)
def test_both_splits_are_read_exactly(tmp_path, prepare, dataset, shape):
    splits = {
        split: np.random.default_rng(seed).integers(0, 256, [5, *shape], np.uint8)
        for seed, split in enumerate(['train', 'test'])
    }
    prepare(dataset, **splits)
    data = data_of(dataset, tmp_path)
    for split, pictures in splits.items():
        loaded = pipeline.load_images(data, split)
        expected = images.crop_and_resize(pictures, data).numpy()
        assert sorted(image.tobytes() for image in loaded) == sorted(image.tobytes() for image in expected)


@pytest.mark.parametrize(
    ('dataset', 'name', 'archives'),
    [
        (
            'cifar10',
            'cifar10',
            'cifar-10-binary.tar.gz (https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz) into a '
            'directory DIR',
        ),
        (
            'lsun_church',
            'lsun/church_outdoor',
            'church_outdoor_train_lmdb.zip (http://dl.yf.io/lsun/scenes/church_outdoor_train_lmdb.zip), '
            'church_outdoor_val_lmdb.zip '
            '(http://dl.yf.io/lsun/scenes/church_outdoor_val_lmdb.zip) into a directory DIR, zipped or '
            'unpacked,',
        ),
        (
            'tfds:stanford_dogs',
            'stanford_dogs',
            ', '.join(
                f'{name} (http://vision.stanford.edu/aditya86/ImageNetDogs/{name})'
                for name in ('images.tar', 'lists.tar', 'annotation.tar')
            )
            + ' into a directory DIR',
        ),
    ],
)
def test_an_unreachable_server_is_said_with_the_way_by_hand(tmp_path, monkeypatch, dataset, name, archives):
    def get(address, **kwargs):
        raise requests.ConnectionError(address)

    monkeypatch.setattr(requests, 'get', get)
    with pytest.raises(UserError) as error:
        tfds_datasets.open_builder(data_of(dataset, tmp_path))
    url = archives.split('(')[1].split(')')[0]
    assert str(error.value) == (
        f'{name} is not in --data_dir={tmp_path}, and {url} cannot be reached (ConnectionError): '
        f'fetch by other means {archives} and give --manual_dir=DIR'
    )


def test_a_failing_preparation_is_said_in_one_line(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError('no space left\non device')

    monkeypatch.setattr(emoji, 'read_font', fail)
    with pytest.raises(
        UserError, match=r'emoji is not in .* and could not be prepared \(OSError: no space left on device\)'
    ) as error:
        tfds_datasets.open_builder(data_of('emoji', tmp_path))
    assert '\n' not in str(error.value)


def test_what_another_process_prepares_meanwhile_is_read(tmp_path, prepare, monkeypatch):
    """Its files appear after the builder has looked for them."""
    pictures = np.random.default_rng(0).integers(0, 256, [6, 32, 32, 3], np.uint8)
    monkeypatch.setattr(
        downloads, 'gather', lambda *arguments: prepare('cifar10', train=pictures, test=pictures) and {}
    )
    assert len(pipeline.load_images(data_of('cifar10', tmp_path), 'train')) == 6


def test_other_classes_than_those_of_the_files_are_refused(tmp_path):
    """The options give all that is needed, so that the data are opened only to read the pictures."""
    directory = own_data.store(tmp_path, 'of_a_colleague')

    def count(dataset, place, classes):
        data = config.Data(dataset, place, image_size=8, image_channels=3, num_classes=classes)
        return pipeline.count_images(data, 'train')

    for dataset, place in ((f'tfrecords:{directory}', ''), ('tfds:of_a_colleague', str(tmp_path))):
        for classes in (1, 5):
            with pytest.raises(UserError) as error:
                count(dataset, place, classes)
            assert f'--dataset={dataset} has 2 classes, and --num_classes={classes}' in str(error.value)
        assert count(dataset, place, 0) == count(dataset, place, 2) == own_data.COUNT - 1


@pytest.fixture
def cifar(prepare):
    pictures = np.random.default_rng(0).integers(0, 256, [12, 32, 32, 3], np.uint8)
    return prepare('cifar10', shards=3, train=pictures, test=pictures)


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def shards(directory):
    return sorted(directory.glob('*train.tfrecord*'))


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda directory: cut(directory / 'dataset_info.json', 0.5), 'is damaged'),
        (lambda directory: (directory / 'dataset_info.json').unlink(), 'is incomplete'),
        (lambda directory: shards(directory)[1].unlink(), 'is incomplete'),
        (lambda directory: cut(shards(directory)[1], 0.5), 'is damaged'),
        (
            lambda directory: shards(directory)[1].write_bytes(bytes(shards(directory)[1].stat().length)),
            'is damaged',
        ),
    ],
)
def test_a_damaged_dataset_is_said_in_one_line(tmp_path, cifar, damage, message):
    damage(cifar)
    with pytest.raises(UserError, match=f'{message}.*: remove it and prepare it again') as error:
        pipeline.load_images(data_of('cifar10', tmp_path), 'train')
    assert '\n' not in str(error.value)


def test_a_stream_of_files_that_are_cut_off_does_not_start(tmp_path, cifar, monkeypatch):
    monkeypatch.setattr(images, 'MAX_BYTES_IN_MEMORY', 0)
    cut(shards(cifar)[1], 0.5)
    with pytest.raises(UserError, match='files of train are cut off'):
        pipeline.training_images(data_of('cifar10', tmp_path), 4, seed=0)


def test_files_of_another_kind_cannot_be_streamed(tmp_path, cifar, monkeypatch):
    metadata = cifar / 'dataset_info.json'
    builder = tfds_datasets.open_builder(data_of('cifar10', tmp_path))
    metadata.write_text(metadata.read_text().replace('"tfrecord"', '"array_record"'))
    monkeypatch.setattr(type(builder.info), 'file_format', 'array_record')
    with pytest.raises(UserError, match='must hold TFRecord files'):
        tfds_reading.stream(builder, 'train', data_of('cifar10', tmp_path), 0, 4, 0, slice(None))
