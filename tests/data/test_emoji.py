import io
import pathlib

import numpy as np
import pytest
from fontTools.feaLib.builder import addOpenTypeFeaturesFromString
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib import TTFont, newTable
from fontTools.ttLib.tables.BitmapGlyphMetrics import SmallGlyphMetrics
from fontTools.ttLib.tables.C_B_D_T_ import cbdt_bitmap_format_17
from fontTools.ttLib.tables.E_B_L_C_ import SbitLineMetrics, Strike, eblc_index_sub_table_1
from PIL import Image

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import emoji, pipeline

REAL_FONT = pathlib.Path(emoji.DEBIAN_FONTS) / emoji.FONT


def picture(colour, size=(136, 128)):
    """One colour with a transparent pixel at the top left."""
    image = Image.new('RGBA', size, colour)
    image.putpixel((0, 0), (0, 0, 0, 0))
    return image


def png(image):
    file = io.BytesIO()
    image.save(file, 'PNG')
    return file.getvalue()


def glyph_name(sequence):
    return '_'.join(f'u{point:04X}' for point in sequence)


def write_font(path, pictures, ligatures=()):
    """A font with the tables of the real one: `pictures` {sequence of code points: PNG or None}, more
    `ligatures` {sequence: sequence}."""
    points = sorted({point for sequence in [*pictures, *ligatures] for point in sequence})
    names = [
        '.notdef',
        *(glyph_name([point]) for point in points),
        *(glyph_name(s) for s in pictures if len(s) > 1),
    ]
    builder = FontBuilder(1024, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({point: glyph_name([point]) for point in points})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1024, 0)))
    builder.setupHorizontalHeader()
    builder.setupPost()
    ligatures = {**dict(ligatures), **{sequence: sequence for sequence in pictures if len(sequence) > 1}}
    rules = [
        f'sub {" ".join(glyph_name([p]) for p in made)} by {glyph_name(of)};'
        for made, of in ligatures.items()
    ]
    if rules:
        addOpenTypeFeaturesFromString(builder.font, f'feature ccmp {{ {" ".join(rules)} }} ccmp;')
    bitmaps = {glyph_name(sequence): content for sequence, content in pictures.items()}
    add_bitmaps(builder.font, {name: bitmaps[name] for name in names if name in bitmaps})
    builder.save(path)


def add_bitmaps(font, bitmaps):
    font['CBDT'], font['CBLC'] = newTable('CBDT'), newTable('CBLC')
    font['CBDT'].version = font['CBLC'].version = 3.0
    strike, index = Strike(), eblc_index_sub_table_1(b'', font)
    table = strike.bitmapSizeTable
    table.colorRef, table.ppemX, table.ppemY, table.bitDepth, table.flags = 0, 109, 109, 32, 1
    table.hori, table.vert = SbitLineMetrics(), SbitLineMetrics()
    for metrics in (table.hori, table.vert):
        vars(metrics).update(
            dict.fromkeys(
                ['ascender', 'descender', 'widthMax', 'caretSlopeNumerator', 'caretSlopeDenominator'], 0
            )
        )
        vars(metrics).update(
            dict.fromkeys(
                ['caretOffset', 'minOriginSB', 'minAdvanceSB', 'maxBeforeBL', 'minAfterBL', 'pad1', 'pad2'], 0
            )
        )
    index.indexFormat, index.imageFormat, index.imageDataOffset, index.names = 1, 17, 0, list(bitmaps)
    strike.indexSubTables = [index]
    font['CBLC'].strikes, font['CBDT'].strikeData = [strike], [{}]
    for name, content in bitmaps.items():
        glyph = cbdt_bitmap_format_17(b'', font)
        glyph.metrics, glyph.imageData = SmallGlyphMetrics(), content
        vars(glyph.metrics).update(height=128, width=136, BearingX=0, BearingY=101, Advance=136)
        font['CBDT'].strikeData[0][name] = glyph


def read(path, sequences, ligatures=()):
    """What `read_font` makes of a font with a picture of its own for each sequence."""
    write_font(
        path,
        {sequence: png(picture((8 * row, 0, 0, 255))) for row, sequence in enumerate(sequences)},
        ligatures,
    )
    names, pictures, subjects = emoji.read_font(path)
    return names, pictures, dict(zip(names, subjects, strict=True))


def test_pictures_lie_on_white_at_the_centre(tmp_path):
    write_font(
        tmp_path / 'font.ttf',
        {(0x1F408,): png(picture((255, 0, 0, 255))), (0x1F415,): png(picture((0, 0, 255, 128)))},
    )
    names, (cat, dog), _ = emoji.read_font(tmp_path / 'font.ttf')
    assert names == ['1F408', '1F415'] and cat.shape == (136, 136, 3) and cat.dtype == np.uint8
    assert (cat[:4] == 255).all() and (cat[132:] == 255).all()
    assert (
        (cat[4, 0] == 255).all() and (cat[4, 1] == [255, 0, 0]).all() and (cat[131, 135] == [255, 0, 0]).all()
    )
    assert (dog[60, 60] == [127, 127, 255]).all()


def test_skin_tones_flags_and_pieces_are_left_out(tmp_path):
    kept = [(0x1F44D,), (0x31, 0x20E3), (0x1F9D1, 0x200D, 0x1F9B0), (0x1F3F4,)]
    left_out = [
        (0x1F44D, 0x1F3FB), (0x1F3FB,), (0x31,), (0x20E3,), (0x1F9B0,), (0x1F1E6,), (0x1F1E6, 0x1F1E8),
        (0x1F3F4, 0xE0067, 0xE007F),
    ]  # fmt: skip
    assert sorted(read(tmp_path / 'font.ttf', kept + left_out)[0]) == [
        '1F3F4',
        '1F44D',
        '1F9D1-200D-1F9B0',
        '31-20E3',
    ]


def test_a_picture_also_used_for_a_skin_tone_is_kept_once(tmp_path):
    same = png(picture('green'))
    write_font(
        tmp_path / 'font.ttf',
        {(0x1F3C2,): same, (0x1F3C2, 0x1F3FB): same, (0x1F3C3,): same, (0x1F3C4,): png(picture('red'))},
    )
    assert emoji.read_font(tmp_path / 'font.ttf')[0] == ['1F3C2', '1F3C4']


def test_a_glyph_that_a_skin_tone_reaches_by_another_sequence_is_left_out(tmp_path):
    font = tmp_path / 'font.ttf'
    assert read(font, [(0x1F44D,), (0x1F44E,)], {(0x1F44D, 0x1F3FF): (0x1F44E,)})[0] == ['1F44D']


def test_people_of_one_profession_are_one_subject_and_couples_are_people(tmp_path):
    professions = [(person, 0x200D, 0x1F692) for person in (0x1F468, 0x1F469, 0x1F9D1)]
    couples = [(0x1F469, 0x200D, 0x2764, 0x200D, 0x1F468), (0x1F491,)]
    directions = [(0x1F6B6,), (0x1F6B6, 0x200D, 0x2640), (0x1F6B6, 0x200D, 0x27A1)]
    subjects = read(
        tmp_path / 'font.ttf', [(0x1F692,), (0x1F468,), (0x2764,), *professions, *couples, *directions]
    )[2]
    groups = {}
    for name, subject in subjects.items():
        groups.setdefault(frozenset(subject), set()).add(name)
    assert groups == {
        frozenset([0x1F692]): {'1F692', '1F468-200D-1F692', '1F469-200D-1F692', '1F9D1-200D-1F692'},
        frozenset([0x1F9D1]): {'1F468', '1F491', '1F469-200D-2764-200D-1F468'},
        frozenset([0x2764]): {'2764'},
        frozenset([0x1F6B6]): {'1F6B6', '1F6B6-200D-2640', '1F6B6-200D-27A1'},
    }


def plain(*levels):
    return np.stack([np.full([136, 136, 3], level, np.uint8) for level in levels])


def test_a_shared_code_point_makes_one_group():
    cats = [{0x1F408}, {0x1F408, 0x2B1B}, {0x2B1B}, {0x1F415}]
    assert emoji.group_subjects(plain(0, 60, 120, 180), cats).tolist() == [0, 0, 0, 3]


def test_pictures_that_differ_by_less_than_six_percent_of_white_are_alike():
    assert emoji.group_subjects(plain(0, 15, 31), [{1}, {2}, {3}]).tolist() == [0, 0, 2]


def test_likeness_links_over_others():
    levels = [0, 30, 15, 45, 200]
    assert emoji.group_subjects(plain(*levels), [{row} for row in range(5)]).tolist() == [0, 0, 0, 0, 4]


def test_one_group_in_ten_is_held_out_whole():
    names, groups = [f'{point:X}' for point in range(4000)], np.repeat(np.arange(0, 4000, 2), 2)
    held_out = emoji.hold_out(names, groups)
    assert (held_out[::2] == held_out[1::2]).all()
    assert abs(held_out.mean() - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 2000)


def test_a_split_does_not_depend_on_other_pictures():
    names = [f'{point:X}' for point in range(500)]
    everything = emoji.hold_out(names, np.arange(500))
    assert (emoji.hold_out(names[200:], np.arange(300)) == everything[200:]).all()


def test_large_groups_stay_in_training():
    names = [f'{point:X}' for point in range(200)]
    (first,) = np.flatnonzero(emoji.hold_out(names, np.arange(200)))[:1]
    assert emoji.hold_out(names[first:], np.repeat([0, 10], [10, 190 - first])).sum() == 10
    assert emoji.hold_out(names[first:], np.repeat([0, 11], [11, 189 - first])).sum() == 0


def test_the_font_of_the_user_comes_first_and_then_debians(tmp_path, monkeypatch):
    mine, debian = tmp_path / 'mine', tmp_path / 'debian'
    monkeypatch.setattr(emoji, 'DEBIAN_FONTS', str(debian))
    with pytest.raises(
        UserError, match=f'neither in --manual_dir nor in {debian}: `apt-get install fonts-noto-color-emoji`'
    ) as error:
        emoji.find_font(str(mine))
    assert '\n' not in str(error.value)
    for directory in (debian, mine):
        directory.mkdir()
        (directory / emoji.FONT).touch()
        assert emoji.find_font(str(mine)) == directory / emoji.FONT


def damage(path, kind):
    write_font(path, {(0x1F408,): png(picture('red', (300, 200) if kind == 'large' else (136, 128)))})
    content = path.read_bytes()
    if kind == 'truncated':
        path.write_bytes(content[: len(content) // 2])
    if kind == 'picture':
        path.write_bytes(content.replace(b'IDAT', b'IDAX'))
    if kind == 'no font':
        path.write_bytes(b'<html>not found</html>')
    if kind == 'outlines':
        font = TTFont(path)
        del font['CBDT'], font['CBLC']
        font.save(path)
    if kind == 'no picture':
        write_font(path, {(0x1F400,): b'no picture'})
    if kind == 'letters':
        write_font(path, {(0x31,): png(picture('red'))})


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('truncated', 'is damaged or another font'),
        ('picture', 'is damaged or another font'),
        ('no picture', r'is damaged or another font \(ValueError: it does not begin as a file of kind PNG'),
        ('no font', 'is damaged or another font'),
        ('outlines', r'holds no colour bitmaps \(table CBDT\)'),
        ('letters', 'holds no picture that a code point reaches'),
        ('large', 'a picture of 300 x 200 px, 136 at most are expected'),
    ],
)
def test_a_font_that_will_not_do_is_named_in_one_line(tmp_path, kind, message):
    path = tmp_path / 'font.ttf'
    damage(path, kind)
    with pytest.raises(UserError, match=message) as error:
        emoji.read_font(path)
    assert str(path) in str(error.value) and '\n' not in str(error.value)


def test_the_dataset_is_prepared_from_the_users_font_and_read(tmp_path, monkeypatch):
    monkeypatch.setattr(emoji, 'DEBIAN_FONTS', str(tmp_path))
    colours = {
        0x1F400 + row: (85 * (row // 16), 85 * (row // 4 % 4), 85 * (row % 4), 255) for row in range(63)
    }
    (tmp_path / 'fonts').mkdir()
    write_font(
        tmp_path / 'fonts' / emoji.FONT, {(point,): png(picture(colour)) for point, colour in colours.items()}
    )
    data = config.Data(dataset='emoji', data_dir=str(tmp_path), manual_dir=str(tmp_path / 'fonts'))
    train, test = (pipeline.load_images(data, split) for split in ('train', 'test'))
    assert train.shape == (63 - len(test), 32, 32, 3) and 0 < len(test) < 20
    centres = np.concatenate([train, test])[:, 16, 16]
    assert sorted(map(tuple, centres.tolist())) == sorted(colour[:3] for colour in colours.values())


def test_without_the_font_the_dataset_ends_in_one_line_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(emoji, 'DEBIAN_FONTS', str(tmp_path))
    with pytest.raises(UserError, match=r'NotoColorEmoji\.ttf is neither in --manual_dir nor in') as error:
        pipeline.load_images(config.Data(dataset='emoji', data_dir=str(tmp_path)), 'train')
    assert '\n' not in str(error.value) and not list(tmp_path.rglob('*.tfrecord*'))


@pytest.mark.skipif(not REAL_FONT.exists(), reason='fonts-noto-color-emoji is not installed')
def test_the_real_font_has_over_1500_pictures_and_no_subject_in_both_splits():
    names, pictures, subjects = emoji.read_font(REAL_FONT)
    assert 1500 < len(names) == len(set(names)) == len({picture.tobytes() for picture in pictures})
    assert {'1F408', '2B1B-200D-1F408', '1F468-200D-1F692', '31-20E3'} <= set(names)
    assert not {'1F44D-1F3FB', '1F3FB', '31', '1F1E6', '1F1EB-1F1F7'} & set(names)
    assert (pictures[:, ::4, ::4].min((1, 2, 3)) < 250).all()
    held_out = emoji.hold_out(names, emoji.group_subjects(pictures, subjects))
    test, train = (
        set().union(*(subjects[row] for row in np.flatnonzero(rows))) for rows in (held_out, ~held_out)
    )
    assert not test & train and 0.07 < held_out.mean() < 0.13
