"""Archives of the published structure, small and made here, through --manual_dir: each stock builder is
really run."""

import gzip
import hashlib
import io
import pathlib
import re
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io
import tensorflow as tf
import tensorflow_datasets as tfds

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import dataset_table, downloads, images, pipeline, tar_archives, tfds_datasets
from drl_tf.tools.photographs import encoded, photographs

TRAIN, TEST = 6, 3


def tar(files, mode):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def packed(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, 'w') as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def mnist(splits):
    archives = {}
    for prefix, (pictures, labels) in zip(('train', 't10k'), splits, strict=True):
        archives[f'{prefix}-images-idx3-ubyte.gz'] = gzip.compress(
            struct.pack('>4i', 2051, *pictures.shape[:3]) + pictures.tobytes()
        )
        archives[f'{prefix}-labels-idx1-ubyte.gz'] = gzip.compress(
            struct.pack('>2i', 2049, len(labels)) + labels.astype(np.uint8).tobytes()
        )
    return archives


def cifar_rows(pictures, *labels):
    return b''.join(
        bytes(row) + picture.transpose(2, 0, 1).tobytes()
        for *row, picture in zip(*labels, pictures, strict=True)
    )


def cifar10(splits):
    names = '\n'.join(f'kind {number}' for number in range(10)).encode()
    (train, labels), test = splits
    parts = {
        f'data_batch_{n + 1}.bin': cifar_rows(train[n : n + 1 + n // 4], labels[n : n + 1 + n // 4])
        for n in range(5)
    }
    files = {'batches.meta.txt': names, 'test_batch.bin': cifar_rows(*test), **parts}
    return {
        'cifar-10-binary.tar.gz': tar(
            {f'cifar-10-batches-bin/{name}': data for name, data in files.items()}, 'w:gz'
        )
    }


def cifar100(splits):
    files = {
        f'{kind}_label_names.txt': '\n'.join(f'{kind} {number}' for number in range(count)).encode()
        for kind, count in (('coarse', 20), ('fine', 100))
    }
    for name, (pictures, labels) in zip(('train', 'test'), splits, strict=True):
        files[f'{name}.bin'] = cifar_rows(pictures, [19 - label for label in labels], labels)
    return {
        'cifar-100-binary.tar.gz': tar(
            {f'cifar-100-binary/{name}': data for name, data in files.items()}, 'w:gz'
        )
    }


def svhn_cropped(splits):
    archives = {}
    for name, (pictures, labels) in zip(('train', 'test', 'extra'), [*splits, splits[1]], strict=True):
        content = io.BytesIO()
        labels = np.where(labels == 0, 10, labels)[:, None]  # Nought is class 10 in the published files.
        scipy.io.savemat(content, {'X': pictures.transpose(1, 2, 3, 0), 'y': labels.astype(np.uint8)})
        archives[f'{name}_32x32.mat'] = content.getvalue()
    return archives


def imagenet32(splits):
    archives = {}
    for name, (pictures, labels) in zip(('train', 'val'), splits, strict=True):
        content = io.BytesIO()
        np.savez(
            content,
            data=pictures.transpose(0, 3, 1, 2).reshape(len(pictures), -1),
            labels=labels.astype(np.int64) + 1,
        )
        archives[f'Imagenet32_{name}_npz.zip'] = packed({f'{name}_data_batch_1.npz': content.getvalue()})
    return archives


def put(archives, directory, builder, monkeypatch):
    """Writes archives as if fetched by hand, and has their sizes and checksums expected."""
    directory.mkdir()
    urls = {archive.name: archive.url for archive in downloads.wanted(builder)}
    assert set(archives) == set(urls)
    for name, content in archives.items():
        (directory / name).write_bytes(content)
        info = tfds.download.checksums.UrlInfo(len(content), hashlib.sha256(content).hexdigest(), name)
        monkeypatch.setitem(builder.url_infos, urls[name], info)


def data_of(dataset, tmp_path, **options):
    return dataset_table.resolve(
        config.Data(
            dataset=dataset, data_dir=str(tmp_path / 'data'), manual_dir=str(tmp_path / 'manual'), **options
        )
    )


@pytest.mark.parametrize(
    ('make', 'shape', 'classes'),
    [(mnist, (28, 28, 1), 10), (cifar10, (32, 32, 3), 10), (cifar100, (32, 32, 3), 100), (svhn_cropped, (32,
    32, 3), 10),
     (imagenet32, (32, 32, 3), 1000)],
)  # fmt: skip
def test_images_and_classes_are_those_in_the_archives(tmp_path, monkeypatch, make, shape, classes):
    monkeypatch.setattr('tensorflow_datasets.image_classification.mnist._TRAIN_EXAMPLES', TRAIN)
    monkeypatch.setattr('tensorflow_datasets.image_classification.mnist._TEST_EXAMPLES', TEST)
    draws = np.random.default_rng(0)
    splits = [
        (draws.integers(0, 256, (n, *shape), np.uint8), draws.integers(0, min(classes, 20), n))
        for n in (TRAIN, TEST)
    ]
    data = data_of(make.__name__, tmp_path)
    builder = tfds_datasets.make_builder(dataset_table.builder_name(data), data.data_dir)
    put(make(splits), tmp_path / 'manual', builder, monkeypatch)
    for split, (pictures, labels) in zip(('train', 'test'), splits, strict=True):
        expected = zip(images.crop_and_resize(pictures, data).numpy(), labels, strict=True)
        found = zip(pipeline.load_images(data, split), pipeline.load_labels(data, split), strict=True)
        assert sorted((image.tobytes(), label) for image, label in found) == sorted(
            (image.tobytes(), label) for image, label in expected
        )
    assert [
        path.name for path in (tmp_path / 'data/downloads').iterdir() if path.name.startswith('at_work')
    ] == []


def celeb_a(files):
    names = [f'{number + 1:06}.jpg' for number in range(len(files))]
    attributes, landmarks = (
        list(tfds.builder('celeb_a').info.features[key]) for key in ('attributes', 'landmarks')
    )
    lines = {
        'list_eval_partition.txt': [
            f'{name} {max(0, number - TRAIN + 1)}' for number, name in enumerate(names)
        ],
        'list_attr_celeba.txt': [
            str(len(names)),
            ' '.join(attributes),
            *(' '.join([name, *['-1'] * len(attributes)]) for name in names),
        ],
        'list_landmarks_align_celeba.txt': [
            str(len(names)),
            ' '.join(landmarks),
            *(f'{name} {"7 " * len(landmarks)}' for name in names),
        ],
        'identity_CelebA.txt': [f'{name} {number}' for number, name in enumerate(names)],
    }
    pictures = packed({f'img_align_celeba/{name}': file for name, file in zip(names, files, strict=True)})
    return {'img_align_celeba.zip': pictures} | {
        name: '\n'.join([*rows, '']).encode() for name, rows in lines.items()
    }


def test_faces_of_celeb_a_are_cut_and_resized(tmp_path, monkeypatch):
    files = [encoded(picture.crop((0, 0, 178, 218))) for picture in photographs(TRAIN + 2, side=220)]
    data = data_of('celeb_a', tmp_path)
    put(
        celeb_a(files), tmp_path / 'manual', tfds_datasets.make_builder('celeb_a', data.data_dir), monkeypatch
    )
    loaded = pipeline.load_images(data, 'train')
    faces = [tf.io.decode_jpeg(file).numpy()[20:-20] for file in files[:TRAIN]]
    resized = [tf.image.resize(face.astype(np.float32), [64, 64], antialias=True) for face in faces]
    expected = [np.rint(np.clip(face, 0, 255)).astype(np.uint8) for face in resized]
    assert all(face.shape == (178, 178, 3) for face in faces)
    assert sorted(image.tobytes() for image in loaded) == sorted(face.tobytes() for face in expected)
    assert len(pipeline.load_images(data, 'test')) == 1


@pytest.mark.parametrize('size', [128, 256])
def test_faces_of_celeb_a_hq_are_taken_as_they_are(tmp_path, size):
    (tmp_path / 'manual').mkdir()
    (tmp_path / f'manual/data{size}x{size}.tar').write_bytes(tar(faces(size=size), 'w'))
    data = data_of('celeb_a_hq', tmp_path, image_size=size)
    loaded = [*pipeline.load_images(data, 'train'), *pipeline.load_images(data, 'test')]
    assert sorted(image.tobytes() for image in loaded) == sorted(face.tobytes() for face in squares(10, size))


def test_it_is_said_what_is_prepared_and_of_what_licence_and_nothing_of_downloads(tmp_path, capfd):
    put_faces(tmp_path, faces())
    tfds_datasets.open_builder(data_of('celeb_a_hq', tmp_path))
    place = tmp_path / 'data/celeb_a_hq/128/2.0.0'
    out = capfd.readouterr().out
    assert out.startswith(f'preparing celeb_a_hq/128 in {place}: 30,000 faces, ')
    assert out.endswith('; licence: non-commercial research only, as CelebA\n') and out.count('\n') == 1


def faces(count=10, size=128):
    return {f'{number:05}.png': encoded(face, 'PNG') for number, face in enumerate(squares(count, size))}


def squares(count, size):
    return (picture.crop((0, 0, size, size)) for picture in photographs(count, side=size))


def put_faces(tmp_path, files, cut=None):
    """Writes data128x128.tar of files, cut off after so many bytes; returns its path."""
    path = tmp_path / 'manual/data128x128.tar'
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(tar(files, 'w')[:cut])
    return path


def refused_faces(tmp_path):
    """The one line that refuses them; nothing is installed."""
    with pytest.raises(UserError) as error:
        tfds_datasets.open_builder(data_of('celeb_a_hq', tmp_path))
    assert '\n' not in str(error.value) and not list(tmp_path.glob('data/celeb_a_hq/**/*.tfrecord*'))
    return str(error.value)


def hollow(content):
    """A PNG of the same size and sound checksums, without pixels."""
    start, packed = content.index(b'IDAT'), b'IDAT' + zlib.compress(b'')
    end = content.index(b'IEND') - 4
    return (
        content[: start - 4]
        + struct.pack('>I', len(packed) - 4)
        + packed
        + struct.pack('>I', zlib.crc32(packed))
        + content[end:]
    )


FACE = encoded(next(squares(1, 128)), 'PNG')
CUT = FACE[:-5000]


@pytest.mark.parametrize(
    ('name', 'content', 'reason'),
    [
        ('small.png', encoded(next(squares(1, 64)), 'PNG'), r'ValueError: 64 x 64 pixels'),
        ('cut.png', CUT, r'\w+: .*'),
        ('hollow.png', hollow(FACE), r'InvalidArgumentError: .*'),
        ('README', b'Faces of celebrities.', r'ValueError: it does not begin as a file of kind PNG, .*'),
        ('photograph.png', encoded(next(squares(1, 128))), r'ValueError: a file of kind JPEG'),
        ('empty.png', b'', r'ValueError: it does not begin as .*'),
    ],
)
def test_a_bad_member_of_celeb_a_hq_is_named_and_a_corrected_archive_is_taken(
    tmp_path, name, content, reason
):
    files = faces()
    path = put_faces(tmp_path, {**files, name: content})
    message = refused_faces(tmp_path)
    pattern = rf'{name} in {path} is no sound PNG of 128 x 128 pixels \({reason}\): make the archive again'
    assert re.fullmatch(pattern, message) and 'object at' not in message and '{{' not in message
    put_faces(tmp_path, files)
    assert tfds_datasets.open_builder(data_of('celeb_a_hq', tmp_path)).info.splits[
        'train'
    ].num_examples == len(files)


def test_a_member_that_comes_twice_is_named(tmp_path):
    path = put_faces(tmp_path, {**faces(), './00003.png': CUT})
    assert refused_faces(tmp_path) == f'00003.png is twice in {path}: make the archive again'


def test_celeb_a_hq_that_was_cut_off_anywhere_is_refused(tmp_path):
    files = faces()
    with tarfile.open(put_faces(tmp_path, files)) as archive:
        seventh, eighth = archive.getmembers()[6:8]
        end = archive.offset
    for cut in (
        0,
        300,
        seventh.offset_data + 100,
        eighth.offset - 10,
        eighth.offset,
        eighth.offset + 100,
        end,
        end + 512,
    ):
        path = put_faces(tmp_path, files, cut)
        assert re.match(rf'{path} is (damaged or )?cut off', refused_faces(tmp_path)), cut
    assert refused_faces(tmp_path).endswith(
        'no end of archive comes after its 10 members; make the archive again'
    )
    put_faces(tmp_path, {})
    assert 'holds no picture' in refused_faces(tmp_path)


def test_another_number_of_faces_than_the_published_is_a_warning(tmp_path, caplog, monkeypatch):
    path = put_faces(tmp_path, faces())
    tar_archives.check(str(path), 128, 10)
    assert not caplog.text
    tfds_datasets.open_builder(data_of('celeb_a_hq', tmp_path))
    assert f'{path} holds 10 pictures, 30000 are published' in caplog.text


def test_celeb_a_hq_without_its_archive_names_it(tmp_path):
    (tmp_path / 'manual').mkdir()
    (tmp_path / 'manual/data256x256.tar').touch()
    with pytest.raises(
        UserError,
        match=r'celeb_a_hq/128 is not in .*: make data128x128\.tar \(https://.*\) in a directory DIR',
    ):
        tfds_datasets.open_builder(data_of('celeb_a_hq', tmp_path))


def test_an_archive_that_is_cut_off_ends_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    draws = np.random.default_rng(0)
    splits = [
        (draws.integers(0, 256, (n, 32, 32, 3), np.uint8), draws.integers(0, 10, n)) for n in (TRAIN, TEST)
    ]
    data = data_of('cifar10', tmp_path)
    put(
        cifar10(splits),
        tmp_path / 'manual',
        tfds_datasets.make_builder('cifar10', data.data_dir),
        monkeypatch,
    )
    path = tmp_path / 'manual/cifar-10-binary.tar.gz'
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=f'{path} is cut off: it has') as error:
        tfds_datasets.open_builder(data)
    assert '\n' not in str(error.value)
    assert not list(pathlib.Path(data.data_dir).rglob('*.tfrecord*')) and path.exists()


def test_a_manual_directory_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match=f'--manual_dir={tmp_path / "manual"} is not a directory'):
        tfds_datasets.open_builder(data_of('cifar10', tmp_path))
