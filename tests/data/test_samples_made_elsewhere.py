"""Images made elsewhere: every kind of file gives its very images, or is refused by name."""

import io
import zipfile

import numpy as np
import pytest
from helpers.flips import refusals
from PIL import Image

from drl_tf.base.errors import UserError
from drl_tf.data import image_files
from drl_tf.runs import samples


def read(path, shape):
    return np.concatenate(list(samples.read(path, shape)))


def pictures(shape, count=5):
    return np.random.default_rng(0).integers(0, 256, [count, *shape], np.uint8)


def save_pictures(directory, images, suffix='.png'):
    for index, image in enumerate(images):
        path = directory / f'{index % 2}' / f'{index}{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)
    return np.concatenate([images[::2], images[1::2]])


@pytest.mark.parametrize('channels', [1, 3])
def test_images_made_elsewhere(tmp_path, monkeypatch, channels):
    """Each kind gives the images that were saved, also where they come in several parts."""
    monkeypatch.setattr(image_files, 'BATCH', 2)
    shape = (6, 4, channels)
    images = pictures(shape)
    np.save(tmp_path / 'a.npy', images)
    np.savez(tmp_path / 'b.npz', samples=images, labels=np.arange(5))
    np.savez_compressed(tmp_path / 'c.npz', images)
    for name in ('a.npy', 'b.npz', 'c.npz'):
        np.testing.assert_array_equal(read(tmp_path / name, shape), images)
        assert samples.count(tmp_path / name) == 5 and [
            len(part) for part in samples.read(tmp_path / name, shape)
        ] == [2, 2, 1]
    in_order = save_pictures(tmp_path / 'pictures', images)
    (tmp_path / 'pictures' / 'notes.txt').write_text('of no interest')
    (tmp_path / 'pictures' / '._a.jpg').write_bytes(b'\0\5\26\7')
    np.testing.assert_array_equal(read(tmp_path / 'pictures', shape), in_order)
    assert samples.count(tmp_path / 'pictures') == 5


def test_jpeg_pictures(tmp_path):
    save_pictures(tmp_path, pictures((8, 8, 3), 1), '.JPEG')
    np.testing.assert_array_equal(
        read(tmp_path, (8, 8, 3))[0], np.asarray(Image.open(tmp_path / '0' / '0.JPEG'))
    )


@pytest.mark.parametrize('kind', ['PNG', 'GIF', 'BMP', 'WEBP'])
@pytest.mark.parametrize('suffix', ['', '.txt'])
def test_every_format_is_read_by_its_content(tmp_path, kind, suffix):
    (grey,) = pictures((8, 8, 1), 1)
    options = {'lossless': True} if kind == 'WEBP' else {}
    Image.fromarray(grey[..., 0]).save(tmp_path / f'a{suffix}', kind, **options)
    np.testing.assert_array_equal(read(tmp_path, (8, 8, 1)), [grey])


def test_grey_and_colour_where_nothing_is_lost(tmp_path):
    grey = pictures((4, 4, 1), 3)
    (tmp_path / 'grey').mkdir()
    save_pictures(tmp_path / 'grey', grey)
    save_pictures(tmp_path / 'colour', grey.repeat(3, axis=-1))
    in_order = grey[[0, 2, 1]]
    np.testing.assert_array_equal(read(tmp_path / 'grey', (4, 4, 3)), in_order.repeat(3, axis=-1))
    np.testing.assert_array_equal(read(tmp_path / 'colour', (4, 4, 1)), in_order)


def saved(make):
    """Bytes that `make` writes into a file."""
    file = io.BytesIO()
    make(file)
    return file.getvalue()


def png(pixels, **kwargs):
    return saved(lambda file: Image.fromarray(pixels, **kwargs).save(file, format='png'))


IMAGES = pictures((4, 4, 3), 2)
BAD = {
    'missing': ('none.npz', None, ['does not exist']),
    'another kind': ('a.txt', b'text', ['.npz or .npy']),
    'an empty directory': ('a/notes.txt', b'text', ['no images', 'PNG']),
    'a text called npz': ('a.npz', b'text', ['a.npz is damaged']),
    'a text called npy': ('a.npy', b'text', ['a.npy is damaged']),
    'half an npz': ('a.npz', saved(lambda file: np.savez(file, images=IMAGES))[:200], ['a.npz is damaged']),
    'half an npy': ('a.npy', saved(lambda file: np.save(file, IMAGES))[:-1], ['a.npy is damaged']),
    'a long npy': ('a.npy', saved(lambda file: np.save(file, IMAGES)) + b'0', ['a.npy is damaged', 'longer']),
    'no array of images': ('a.npz', saved(lambda file: np.savez(file, pool_3=IMAGES)), ['pool_3', 'arr_0']),
    'objects': ('a.npy', saved(lambda file: np.save(file, np.array([{}, None]))), ['object', 'uint8']),
    'float': ('a.npy', saved(lambda file: np.save(file, IMAGES / 255)), ['float64', 'uint8']),
    'Fortran order': ('a.npy', saved(lambda file: np.save(file, np.asfortranarray(IMAGES))), ['Fortran',
    'ascontiguousarray']),
    'no channels': ('a.npy', saved(lambda file: np.save(file, IMAGES[..., 0])), ['[2, 4, 4]',
    '[N, H, W, C]']),
    'no images': ('a.npy', saved(lambda file: np.save(file, IMAGES[:0])), ['[0, 4, 4, 3]', 'at least one']),
    'grey': ('a.npy', saved(lambda file: np.save(file, IMAGES[..., :1])), ['[4, 4, 1]', '[4, 4, 3]']),
    'channels first': ('a.npy', saved(lambda file: np.save(file, IMAGES.transpose(0, 3, 1, 2))),
    ['channels first', 'transpose']),
    'half a picture': ('a/b.png', png(IMAGES[0])[:-20], ['b.png is damaged']),
    'half a JPEG': ('a/b.jpg', saved(lambda file: Image.effect_noise((4, 4), 9).save(file,
    format='jpeg'))[:-40], ['b.jpg is damaged']),
    'a text called PNG': ('a/b.png', b'text', ['b.png is damaged']),
    'another size': ('a/b.png', png(IMAGES[0][:3]), ['b.png is 4 x 3 pixels, not 4 x 4']),
    'sixteen bits': ('a/b.png', png(IMAGES[0][..., 0].astype(np.uint16)), ['b.png', 'I;16', '8-bit']),
    'transparency': ('a/b.png', png(np.concatenate([IMAGES[0], IMAGES[0][..., :1]], axis=-1)), ['b.png',
    'transparent']),
    'a lost shard': ('a/images-00000-of-00001.npz', b'', ['samples.json is missing']),
}  # fmt: skip


@pytest.mark.parametrize('kind', BAD)
def test_what_cannot_be_compared_is_refused_by_name(tmp_path, kind):
    name, content, words = BAD[kind]
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    if len(path.relative_to(tmp_path).parts) > 1:
        path = path.parent
    with pytest.raises(UserError) as refusal:
        read(path, (4, 4, 3))
    line = str(refusal.value)
    assert str(path) in line and '\n' not in line and all(word in line for word in words), line


def test_colours_are_not_made_grey(tmp_path):
    (tmp_path / 'b.png').write_bytes(png(IMAGES[0]))
    with pytest.raises(UserError, match=r'b\.png has colours'):
        read(tmp_path, (4, 4, 1))


@pytest.mark.parametrize('kind', ['npz', 'compressed npz', 'PNG'])
def test_no_flipped_bit_gives_other_images(tmp_path, kind):
    """Wherever it is in the file, the images are the same or the file is refused."""
    images, path = pictures((2, 2, 3), 3), tmp_path / 'a.npz'
    if kind == 'PNG':
        images, path = images[:1], tmp_path / 'only' / 'a.png'
        path.parent.mkdir()
        path.write_bytes(png(images[0]))
    else:
        (np.savez if kind == 'npz' else np.savez_compressed)(path, images=images)
    source = path.parent if kind == 'PNG' else path
    assert refusals(path, 1, lambda: read(source, (2, 2, 3)), images) > 10
    np.testing.assert_array_equal(read(source, (2, 2, 3)), images)


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_no_image_is_lost_to_a_wrong_header(tmp_path, save):
    """An array that says it has fewer images than it has, longer than what is read ahead."""
    images, path = pictures((64, 64, 3), 3), tmp_path / 'a.npz'
    save(path, images=images)
    with zipfile.ZipFile(path) as archive:
        info, content = archive.getinfo('images.npy'), archive.read('images.npy')
    wrong = content.replace(b'(3, 64', b'(2, 64')
    with zipfile.ZipFile(path, 'w', info.compress_type) as archive:
        archive.writestr('images.npy', wrong)
    with pytest.raises(UserError, match='longer than its header says'):
        read(path, (64, 64, 3))
