"""Folders that mix good and bad files of every kind: the good ones come with their very pixels, the bad ones
are named."""

import io
import os
import pathlib
import re
import struct
import tempfile
import zlib

import numpy as np
import pytest
from helpers.hostile import damaged, tries
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from drl_tf.base.errors import UserError, printable
from drl_tf.config import config
from drl_tf.data import dataset_table, image_files, indexed, lsun_shards, picture_files

SIZE = 8


def encoded(picture, kind='PNG', **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def over_white(pixels):
    """RGBA over white, in exact arithmetic."""
    alpha = pixels[..., 3:].astype(float) / 255
    return np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha))


def as_rgb(content):
    """What a JPEG decodes to."""
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert('RGB'))


def grey(pixels):
    return np.broadcast_to(np.asarray(pixels, float)[..., None], [SIZE, SIZE, 3])


def made(kind, seed):
    """A file of a kind and its pixels, [8, 8, 3]."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, [SIZE, SIZE, 4], np.uint8)
    colour = Image.fromarray(pixels[..., :3])
    if kind == '1x1':
        return encoded(Image.fromarray(pixels[:1, :1, :3])), np.broadcast_to(
            pixels[:1, :1, :3], [SIZE, SIZE, 3]
        )
    if kind == 'rgb':
        return encoded(colour), pixels[..., :3]
    if kind == 'grey':
        return encoded(Image.fromarray(pixels[..., 0])), grey(pixels[..., 0])
    if kind == 'bits':
        return encoded(Image.fromarray(pixels[..., 0] > 99)), grey(255 * (pixels[..., 0] > 99))
    if kind == '16 bits':
        deep = random.integers(0, 2**16, [SIZE, SIZE], np.uint16)
        return encoded(Image.fromarray(deep)), grey(np.rint(deep / 257))
    if kind == 'alpha':
        return encoded(Image.fromarray(pixels)), over_white(pixels)
    if kind == 'grey alpha':
        return encoded(Image.fromarray(pixels[..., 2:])), over_white(pixels[..., [2, 2, 2, 3]])
    if kind == 'palette':
        picture = Image.fromarray(pixels[..., 0] % 4)
        picture.putpalette(bytes(pixels[0, :4, :3].ravel()))
        return encoded(picture), pixels[0, :4, :3][pixels[..., 0] % 4]
    if kind == 'animated':
        return encoded(colour, save_all=True, append_images=[Image.new('RGB', (SIZE, SIZE), 'red')]), pixels[
            ..., :3
        ]
    if kind == 'gif':
        frames = [Image.fromarray(frame // 64).convert('RGB') for frame in (pixels[..., 0], pixels[..., 1])]
        return encoded(frames[0], 'GIF', save_all=True, append_images=frames[1:]), grey(pixels[..., 0] // 64)
    if kind == 'bmp':
        return encoded(colour, 'BMP'), pixels[..., :3]
    if kind == 'webp':
        return encoded(colour, 'WEBP', lossless=True), pixels[..., :3]
    jpeg = encoded(Image.fromarray(pixels, 'CMYK') if kind == 'cmyk' else colour, 'JPEG')
    return jpeg, as_rgb(jpeg)


PNGS = ['1x1', 'rgb', 'grey', 'bits', '16 bits', 'alpha', 'grey alpha', 'palette', 'animated']
KINDS = [*PNGS, 'gif', 'bmp', 'webp', 'jpeg', 'cmyk']
BAD = ['empty', 'text', 'zeros', 'head', 'bomb', 'giant', 'postscript', 'tiff', 'fifo', 'dangling', 'loop']
NAMES = [b'a', b'b c', 'é'.encode(), b'\xff\xfe', b'%s', b"d'", b'.e', b'\n']


def png_of(width, height, content=b''):
    """A PNG whose head says so, with sound checksums."""
    chunks = [
        (b'IHDR', struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0)),
        (b'IDAT', zlib.compress(content)),
        (b'IEND', b''),
    ]
    parts = (
        struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))
        for name, body in chunks
    )
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


BOMB = png_of(2**13, 2**13 + 1, bytes((2**10 + 1) * (2**13 + 1)))
LARGEST = png_of(2**13, 2**13, bytes((2**10 + 1) * 2**13))
BYTES = {
    'empty': b'',
    'text': b'no picture',
    'zeros': bytes(500),
    'head': encoded(Image.new('RGB', (SIZE, SIZE)))[:33],
    'bomb': BOMB,
    'giant': png_of(2**31 - 1, 2**31 - 1),
    'postscript': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) run\n%%EOF\n',
    'tiff': encoded(Image.new('RGB', (SIZE, SIZE)), 'TIFF'),
}


def put(path, kind):
    """A file that is no picture."""
    if kind == 'fifo':
        os.mkfifo(path)
    elif kind in ('dangling', 'loop'):
        os.symlink(path if kind == 'loop' else path + b'.absent', path)
    else:
        with open(path, 'wb') as file:
            file.write(BYTES[kind])


def load(directory, caplog):
    """All images of a folder, in the order of their paths, and the log."""
    caplog.clear()
    data = dataset_table.resolve(
        config.Data(dataset='folder', data_dir=str(directory), image_size=SIZE, image_channels=3)
    )
    splits = [indexed.load(data, split) for split in ('train', 'test')]
    by_row = {row: image for split in splits for row, image in zip(split.rows, split.images, strict=True)}
    return np.stack([by_row[row] for row in sorted(by_row)]), caplog.text


def skipped(log, path):
    return f'Skipped {printable(os.fsdecode(path))}, a broken image' in log


FILES = st.lists(
    st.tuples(
        st.sampled_from(KINDS + BAD),
        st.integers(0, 99),
        st.sampled_from([b'.png', b'.jpg', b'.JPEG', b'.PnG']),
        st.sampled_from(NAMES),
    ),
    min_size=1,
    max_size=7,
)


@tries(150)
@given(files=FILES)
def test_good_files_come_exactly_and_bad_ones_are_named(caplog, files):
    with tempfile.TemporaryDirectory() as parent:
        expected, bad = {}, set()
        for number, (kind, seed, extension, name) in enumerate(files):
            path = os.path.join(os.fsencode(parent), b'%d' % number, name + extension)
            os.mkdir(os.path.dirname(path))
            if kind in BAD:
                put(path, kind)
                bad.add(path)
            else:
                content, expected[path] = made(kind, seed)
                pathlib.Path(os.fsdecode(path)).write_bytes(content)
        if not expected:
            with pytest.raises(UserError, match=f'holds no usable image: all {len(files)} files are broken'):
                load(parent, caplog)
            return
        found, log = load(parent, caplog)
        assert [path for path in (*bad, *expected) if skipped(log, path)] == [*bad]
        for path, image in zip(expected, found, strict=True):
            np.testing.assert_allclose(image, expected[path], atol=1)


@tries(150)
@given(data=st.data(), kind=st.sampled_from([*PNGS, 'jpeg', 'cmyk']), seed=st.integers(0, 9))
def test_damaged_pictures_are_named_or_whole(caplog, data, kind, seed):
    """A PNG is as it was or refused, by its checksums, in a folder and among samples; a JPEG, which has none,
    if it is cut off."""
    content, expected = made(kind, seed)
    hurt = data.draw(damaged(content))
    with tempfile.TemporaryDirectory() as parent:
        path = pathlib.Path(parent) / 'hurt.png'
        path.write_bytes(hurt)
        (path.parent / 'whole.png').write_bytes(made('rgb', 1)[0])
        found, log = load(parent, caplog)
        np.testing.assert_array_equal(found[-1], made('rgb', 1)[1])
        assert (len(found) == 1) == skipped(log, path)
        is_png = kind not in ('jpeg', 'cmyk')
        if len(found) == 2 and (is_png or hurt.startswith(content) or content.startswith(hurt)):
            np.testing.assert_allclose(found[0], expected, atol=1)
        (path.parent / 'whole.png').unlink()
        try:
            (image,) = next(image_files.read(parent, (SIZE, SIZE, 3)))
        except UserError as error:
            assert str(path) in str(error)
        else:
            assert image.shape == (SIZE, SIZE, 3) and (not is_png or np.abs(image - expected).max() <= 1)


@pytest.mark.parametrize('flip', [1, 128])
def test_every_byte_of_a_png_is_covered(tmp_path, caplog, flip):
    """Pillow alone shows other colours where some of these are changed."""
    content, expected = made('palette', 1)
    for where in range(len(content)):
        (tmp_path / f'{where:03}.png').write_bytes(
            content[:where] + bytes([content[where] ^ flip]) + content[where + 1 :]
        )
    (tmp_path / 'whole.png').write_bytes(content)
    for image in load(tmp_path, caplog)[0]:
        np.testing.assert_array_equal(image, expected)


def test_no_more_pixels_than_the_bound_are_decoded(tmp_path, caplog):
    """2^26 in folders, sets of samples and LSUN alike; one row less is taken."""
    assert picture_files.MAX_PIXELS == 2**26
    for name in ('a.png', 'b.png'):
        (tmp_path / name).write_bytes(BOMB)
    reason = re.escape('8192 x 8193 pixels are more than 67,108,864')
    with pytest.raises(UserError, match='all 2 files are broken'):
        load(tmp_path, caplog)
    assert re.search(rf'a\.png, a broken image: {reason}', caplog.text)
    with pytest.raises(UserError, match=rf'a\.png .*{reason}'):
        next(image_files.read(tmp_path, (SIZE, SIZE, 3)))
    with pytest.raises(ValueError, match=reason):
        lsun_shards.encoded_picture(BOMB, 0)
    assert picture_files.open_picture(io.BytesIO(LARGEST)).size == (2**13, 2**13)


def test_pictures_that_pillow_would_hand_to_another_program_are_not_read(tmp_path, caplog):
    """The file below is PostScript, which Pillow knows and would have Ghostscript run."""
    (tmp_path / 'a.png').write_bytes(BYTES['postscript'])
    assert Image.open(tmp_path / 'a.png').format == 'EPS'
    with pytest.raises(UserError, match='holds no usable image'):
        load(tmp_path, caplog)


def test_a_fifo_among_samples_does_not_wait(tmp_path):
    os.mkfifo(tmp_path / 'a.png')
    with pytest.raises(UserError, match=r'a\.png .*no regular file'):
        next(image_files.read(tmp_path, (SIZE, SIZE, 3)))
