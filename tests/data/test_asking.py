"""Which archives a builder of tensorflow-datasets downloads; nothing is downloaded to find out."""

import os
import typing

import pytest
import tensorflow_datasets as tfds

from drl_tf.config import config
from drl_tf.data import asking, dataset_table, tfds_datasets

Known = tfds.download.checksums.UrlInfo


@pytest.mark.parametrize(
    ('dataset', 'names'),
    [
        ('mnist', ['train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz', 't10k-images-idx3-ubyte.gz',
        't10k-labels-idx1-ubyte.gz']),
        ('cifar10', ['cifar-10-binary.tar.gz']),
        ('cifar100', ['cifar-100-binary.tar.gz']),
        ('svhn_cropped', ['train_32x32.mat', 'test_32x32.mat', 'extra_32x32.mat']),
        ('imagenet32', ['Imagenet32_train_npz.zip', 'Imagenet32_val_npz.zip']),
        ('celeb_a_hq', []),
        ('lsun_church', ['church_outdoor_train_lmdb.zip', 'church_outdoor_val_lmdb.zip']),
        ('lsun_tv_monitor', ['tv-monitor.zip']),
        ('tfds:stanford_dogs', ['images.tar', 'lists.tar', 'annotation.tar']),
        (
            'tfds:places365_small',
            ['train_256_places365standard.tar', 'val_256.tar', 'test_256.tar',
            'filelist_places365-standard.tar'],
        ),
        ('tfds:sun397', ['SUN397.tar.gz', 'Partitions.zip']),
        (
            'celeb_a',
            ['img_align_celeba.zip', 'identity_CelebA.txt']
            + [f'list_{name}.txt' for name in ('eval_partition', 'attr_celeba', 'landmarks_align_celeba')],
        ),
    ],
)  # fmt: skip
def test_every_builder_is_asked_for_its_archives(tmp_path, dataset, names):
    data = dataset_table.resolve(config.Data(dataset=dataset, data_dir=str(tmp_path)))
    archives = asking.wanted(tfds_datasets.make_builder(dataset_table.builder_name(data), data.data_dir))
    assert sorted(archive.name for archive in archives) == sorted(names)
    assert all(archive.size > 0 and len(archive.checksum) == 64 for archive in archives)


class Builder:
    """Requests four archives one after the other, then reads one; a fifth request would depend on it."""

    url_infos: typing.ClassVar = {
        f'http://there/{name}': Known(size, f'{size}' * 64, name)
        for size, name in enumerate(('a.zip', 'b.zip', 'c.zip', 'last.zip'), 1)
    }

    def _split_generators(self, manager):
        manager.download('http://there/a.zip')
        paths = manager.download_and_extract(
            {'b': tfds.download.Resource(url='http://there/b.zip'), 'other': 'http://there/unknown.zip'}
        )
        manager.extract(manager.download(['http://there/c.zip']))
        with open(paths['b']) as file:
            manager.download(file.read())


def test_all_requests_of_a_builder_are_noted():
    """Of a `Resource` too; an archive without a checksum is left to tensorflow-datasets."""
    archives = asking.wanted(Builder())
    assert [(archive.name, archive.size) for archive in archives] == [
        ('a.zip', 1),
        ('b.zip', 2),
        ('c.zip', 3),
    ]
    assert archives[1].url == 'http://there/b.zip' and archives[1].checksum == '2' * 64


def test_archives_of_one_name_are_left_to_tensorflow_datasets():

    class Twins(Builder):
        url_infos: typing.ClassVar = {
            **Builder.url_infos,
            'http://there/c.zip': Known(3, '3' * 64, 'a.zip'),
        }

    assert [archive.name for archive in asking.wanted(Twins())] == ['b.zip']


def test_a_builder_that_reads_files_of_the_user_first_is_asked_up_to_there():

    class Reading(Builder):
        def _split_generators(self, manager):
            return os.listdir(manager.manual_dir)

    assert asking.wanted(Reading()) == []
