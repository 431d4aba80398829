"""Archives of CelebA-HQ, small and made here, through --manual_dir: taken whole, or refused in one line."""

import re
import struct
import tarfile
import zlib

import pytest
from helpers.archives import data_of, tar

from drl_tf.base.errors import UserError
from drl_tf.data import pipeline, tar_archives, tfds_datasets
from drl_tf.tools.photographs import encoded, photographs


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
