import dataclasses
import io
import os

import numpy as np
import pytest
from PIL import Image

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import dataset_table, image_files, images, indexed, picture_files, pipeline


def load(directory, split='train', channels=3, size=8):
    data = config.Data(dataset='folder', data_dir=str(directory), image_size=size, image_channels=channels)
    return pipeline.load_images(data, split)


def save_values(directory, values):
    for index, value in enumerate(values):
        Image.new('L', (8, 8), value).save(directory / f'{index:03}.png')


def values_of(loaded):
    return loaded[:, 0, 0, 0].tolist()


def test_no_directory_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match='needs --data_dir'):
        load('')
    with pytest.raises(UserError, match=r'--data_dir=.*absent is not a directory'):
        load(tmp_path / 'absent')


def test_no_image_is_said_in_one_line(tmp_path):
    (tmp_path / 'notes.txt').write_text('no image')
    with pytest.raises(
        UserError, match=rf'--data_dir={tmp_path} holds no picture \(PNG, JPEG, GIF, BMP, WEBP\)'
    ):
        load(tmp_path)


def test_all_broken_is_said_in_one_line(tmp_path):
    (tmp_path / 'empty.png').touch()
    with pytest.raises(
        UserError, match=rf'--data_dir={tmp_path} holds no usable image: all 1 files are broken'
    ):
        load(tmp_path)


def test_broken_files_are_named_once_skipped_and_counted(tmp_path, caplog):
    save_values(tmp_path, [10, 20, 30])
    (tmp_path / 'empty.png').touch()
    (tmp_path / 'text.png').write_text('not an image')
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, [64, 64, 3], np.uint8)).save(picture, 'PNG')
    (tmp_path / 'cut.png').write_bytes(picture.getvalue()[:5000])
    Image.open(picture).save(picture := io.BytesIO(), 'JPEG')
    (tmp_path / 'cut.jpg').write_bytes(picture.getvalue()[:1500])
    assert values_of(load(tmp_path)) == [10, 20]
    assert values_of(load(tmp_path, 'test')) == [30]
    for name in ('empty.png', 'text.png', 'cut.png', 'cut.jpg'):
        assert caplog.text.count(f'Skipped {tmp_path / name}') == 1
    assert '3 of 7 images usable, 4 broken' in caplog.text


@pytest.mark.parametrize('kind', picture_files.FORMATS)
@pytest.mark.parametrize('name', ['named.{}', 'UPPER.{}', 'no_extension', 'wrong.txt', 'wrong.jpg'])
def test_the_content_of_a_file_makes_it_a_picture(tmp_path, kind, name):
    Image.new('L', (8, 8), 77).save(tmp_path / name.format(kind), kind)
    (image,) = load(tmp_path)
    np.testing.assert_allclose(image, 77, atol=2)


def test_other_files_are_counted_and_those_of_macos_left_out(tmp_path, caplog):
    save_values(tmp_path, [10])
    (tmp_path / '._000.png').write_bytes(b'\0\5\26\7')
    (tmp_path / 'notes.txt').write_text('BMP is a format of pictures')
    os.mkfifo(tmp_path / 'waits')
    assert values_of(load(tmp_path)) == [10]
    assert (
        f'{tmp_path}: left out 3 files that are not PNG, JPEG, GIF, BMP or WEBP, such as ._000' in caplog.text
    )
    assert 'broken' not in caplog.text


@pytest.mark.parametrize('read', [load, lambda path: list(image_files.read(path, (8, 8, 3)))])
@pytest.mark.parametrize('closed', ['.', 'below'])
def test_an_unreadable_directory_is_named(tmp_path, monkeypatch, read, closed):
    save_values(tmp_path, [10])
    (tmp_path / 'below').mkdir()
    scan = os.scandir

    def refuse(path):
        if os.path.samefile(path, tmp_path / closed):
            raise PermissionError(13, 'Permission denied', os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(UserError, match=rf'{tmp_path / closed} cannot be read \(Permission denied\)'):
        read(tmp_path)


def test_a_picture_with_too_many_pixels_is_broken(tmp_path, caplog, monkeypatch):
    save_values(tmp_path, [10])
    Image.new('L', (50, 50)).save(tmp_path / 'huge.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    assert values_of(load(tmp_path)) == [10]
    assert f'Skipped {tmp_path / "huge.png"}' in caplog.text


def translucent(mode):
    """Fully transparent on the left, opaque (200, 30, 90) on the right."""
    pixels = np.zeros([8, 8, 4], np.uint8)
    pixels[:, 4:] = 200, 30, 90, 255
    picture = Image.fromarray(pixels)
    return picture.convert('LA') if mode == 'LA' else picture


def palette():
    picture = Image.new('P', (8, 8), 1)
    picture.putpalette([0, 0, 0, 200, 30, 90])
    return picture


def deep_grey():
    return Image.fromarray(np.full([8, 8], 200 * 257, np.uint16))


GREY = round(0.299 * 200 + 0.587 * 30 + 0.114 * 90)


@pytest.mark.parametrize(
    ('name', 'picture', 'colour'),
    [
        ('grey.png', Image.new('L', (8, 8), 77), (77, 77, 77)),
        ('palette.PNG', palette(), (200, 30, 90)),
        ('cmyk.jpg', Image.new('CMYK', (8, 8), (55, 225, 165, 0)), (200, 30, 90)),
        ('deep.png', deep_grey(), (200, 200, 200)),
        ('bit.png', Image.new('1', (8, 8), 1), (255, 255, 255)),
        ('alpha.png', translucent('RGBA'), (200, 30, 90)),
        ('grey_alpha.png', translucent('LA'), (GREY, GREY, GREY)),
        ('dot.png', Image.new('RGB', (1, 1), (200, 30, 90)), (200, 30, 90)),
        ('photo.JPEG', Image.new('RGB', (30, 20), (200, 30, 90)), (200, 30, 90)),
    ],
)
@pytest.mark.parametrize('channels', [1, 3])
def test_every_kind_of_picture_keeps_its_colour(tmp_path, name, picture, colour, channels):
    picture.save(tmp_path / name)
    (image,) = load(tmp_path, channels=channels)
    expected = colour if channels == 3 else [np.dot(colour, [0.299, 0.587, 0.114])]
    np.testing.assert_allclose(image[:, 6], np.broadcast_to(expected, [8, channels]), atol=2)
    if 'alpha' in name:
        assert (image[:, 1] == 255).all()


def test_the_orientation_in_exif_is_followed(tmp_path):
    pixels = np.zeros([8, 8], np.uint8)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # Upside down.
    Image.fromarray(pixels).save(tmp_path / 'turned.png', exif=exif)
    (image,) = load(tmp_path)
    assert image[0].max() == 0 and image[-1].min() == 255


def test_the_square_at_the_centre_is_resized(tmp_path):
    pixels = np.zeros([16, 40, 3], np.uint8)
    pixels[:, 12:28] = np.arange(16)[:, None, None] * 10
    Image.fromarray(pixels).save(tmp_path / 'wide.png')
    (image,) = load(tmp_path, size=16)
    np.testing.assert_array_equal(image, pixels[:, 12:28])


def test_files_in_subdirectories_come_in_the_order_of_their_paths(tmp_path):
    for value, name in [(3, 'b/a.png'), (1, 'a/b.png'), (2, 'a/c/a.png'), (4, 'c.png')]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('L', (8, 8), value).save(tmp_path / name)
    assert values_of(load(tmp_path)) == [1, 2, 3]


@pytest.mark.parametrize(
    ('count', 'held_out'),
    [(1, [0]), (2, [1]), (19, [18]), (20, [19]), (21, [19]), (39, [19]), (40, [19, 39]), (45, [19, 39])],
)
def test_every_20th_or_the_last_is_held_out(tmp_path, count, held_out):
    save_values(tmp_path, range(count))
    assert values_of(load(tmp_path, 'test')) == held_out
    assert values_of(load(tmp_path)) == (
        [0] if count == 1 else [value for value in range(count) if value not in held_out]
    )


def test_a_picture_is_read_once_before_and_after_the_mean_is_measured(tmp_path, monkeypatch):
    save_values(tmp_path, [10, 20, 30])
    read, files = picture_files.read, []
    monkeypatch.setattr(picture_files, 'read', lambda file: files.append(file) or read(file))
    data = dataset_table.resolve(config.Data(dataset='folder', data_dir=str(tmp_path), image_size=8))
    for now in (data, dataclasses.replace(data, data_mean=(0.1,), data_std=0.5)):
        assert values_of(pipeline.load_images(now, 'train')) == [10, 20]
    assert len(files) == 3


def test_more_than_memory_should_hold_is_read_from_the_files(tmp_path, monkeypatch, caplog):
    """Training gets the same images in the same order; a broken file is skipped in both ways."""
    save_values(tmp_path, range(0, 200, 10))
    (tmp_path / '005.png').write_text('broken')
    data = config.Data(dataset='folder', data_dir=str(tmp_path), image_size=8)

    def drawn():
        batches = pipeline.training_images(data, 6, seed=3).take(8)
        return np.concatenate(list(batches.as_numpy_iterator()))

    held, in_memory = pipeline.load_images(data, 'test'), drawn()
    indexed.forget()
    monkeypatch.setattr(images, 'MAX_BYTES_IN_MEMORY', 20 * 8 * 8 * 3 - 1)
    assert indexed.load(dataset_table.resolve(data), 'train').images is None
    np.testing.assert_array_equal(drawn(), in_memory)
    np.testing.assert_array_equal(pipeline.load_images(data, 'test'), held)
    assert caplog.text.count(f'Skipped {tmp_path / "005.png"}') == 2
