"""The pictures of the font Noto Color Emoji (no download).

The font is in Debian's fonts-noto-color-emoji; its licence is OFL-1.1.
"""

import hashlib
import io
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from fontTools import ttLib
from PIL import Image

from drl_tf.base.errors import UserError, one_line
from drl_tf.data import picture_files

FONT = 'NotoColorEmoji.ttf'
DEBIAN_FONTS = '/usr/share/fonts/truetype/noto'
SIDE = 136
_BLOCK = 8
_ALIKE = 0.06
_TEST_ONE_IN = 10
_LARGEST_IN_TEST = 10
_LIGATURES = 4

_SKIN_TONES = set(range(0x1F3FB, 0x1F400))
_FLAG_LETTERS = {*range(0x1F1E6, 0x1F200), *range(0xE0020, 0xE0080)}  # Regional indicators, and tags.
_HAIR = set(range(0x1F9B0, 0x1F9B4))
_PIECES = {*map(ord, '#*0123456789'), 0x20E3, *_HAIR}  # 20E3 is the blank keycap.
_SIGNS = {0x200D, 0xFE0F, 0x2640, 0x2642, 0x27A1, *_HAIR}  # Joiner, emoji style, female, male, facing right.
_PEOPLE = {*range(0x1F466, 0x1F46E), 0x1F474, 0x1F475, 0x1F476, 0x1F48F, 0x1F491, *range(0x1F9D1, 0x1F9D4)}
_PERSON = 0x1F9D1


Sequences = set[tuple[int, ...]]  # Sequences of code points that show the same picture.


class Emoji(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builder of a tensorflow-datasets dataset: emoji on white, without skin tones and flags of countries.

    It reads the pictures from the font Noto Color Emoji. Each example holds 'image', uint8 [136, 136, 3], and
    'code_points', a text such as '1F408-200D-2B1B'; there are no classes. Similar pictures, such as all
    clocks, are in the same split, 'train' or 'test'.
    """

    name = 'emoji'
    VERSION = tfds.core.Version('1.0.0')

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            'image': tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format='png'),
            'code_points': tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description='Colour pictures of the font Noto Color Emoji, on white.',
            homepage='https://github.com/googlefonts/noto-emoji',
            license='OFL-1.1',
            features=tfds.features.FeaturesDict(features),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        names, pictures, subjects = read_font(find_font(dl_manager._manual_dir))
        held_out = hold_out(names, group_subjects(pictures, subjects))
        return {
            'train': self._generate_examples(names, pictures, np.flatnonzero(~held_out)),
            'test': self._generate_examples(names, pictures, np.flatnonzero(held_out)),
        }

    def _generate_examples(
        self, names: list[str], pictures: np.ndarray, rows: np.ndarray
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in rows:
            yield names[row], {'image': pictures[row], 'code_points': names[row]}


def find_font(manual_dir: str | None = None) -> pathlib.Path:
    """Returns the path of the font file `NotoColorEmoji.ttf`.

    Args:
      manual_dir: a directory to search first, before Debian's font directory; None: only Debian's font
        directory is searched.

    Raises:
      UserError: the font is in neither directory.
    """
    for directory in filter(None, (manual_dir, DEBIAN_FONTS)):
        path = pathlib.Path(directory) / FONT
        if path.is_file():
            return path
    raise UserError(
        f'{FONT} is neither in --manual_dir nor in {DEBIAN_FONTS}: `apt-get install '
        'fonts-noto-color-emoji`, or put the font in a directory DIR and give --manual_dir=DIR'
    )


def read_font(path: str | os.PathLike[str]) -> tuple[list[str], np.ndarray, list[set[int]]]:
    """Reads the distinct colour pictures of a font (the PNG files in its table CBDT).

    Several sequences of Unicode code points may show the same picture of the font. Left out are pictures with
    a skin tone, flags of countries, and pieces that are no emoji by themselves (digits, `#`, `*`, hair).

    Args:
      path: a TrueType font.

    Returns:
      names: for each picture, the smallest sequence of code points that shows it, as hexadecimal numbers
        ('1F408-200D-2B1B').
      pictures: on white, centred, uint8 [N, 136, 136, 3].
      subjects: for each picture, the set of code points that say what it shows; {0x1F9D1} (person) if it
        shows only people.

    Raises:
      UserError: the file is damaged, or is not a font with such pictures.
    """
    try:
        with ttLib.TTFont(path, lazy=True) as font:
            if 'CBDT' not in font:
                raise UserError(
                    f'{path} holds no colour bitmaps (table CBDT): take {FONT} of fonts-noto-color-emoji'
                )
            found = _pictures(font)
    except UserError:
        raise
    except Exception as error:  # Damaged fonts and PNGs raise errors of many kinds.
        raise UserError(
            f'{path} is damaged or another font ({one_line(error)}): take that of fonts-noto-color-emoji'
        ) from error
    if not found:
        raise UserError(
            f'{path} holds no picture that a code point reaches: take {FONT} of fonts-noto-color-emoji'
        )
    names = ['-'.join(f'{point:X}' for point in min(sequences)) for sequences, _ in found]
    pictures = np.stack([picture for _, picture in found])
    return names, pictures, [_subject(sequences) for sequences, _ in found]


def _pictures(font: ttLib.TTFont) -> list[tuple[Sequences, np.ndarray]]:
    """Returns pairs (sequences, picture) of the distinct pictures of a font, ordered by their sequences."""
    bitmaps = max(font['CBDT'].strikeData, key=len)
    sequences = {
        glyph: found for glyph, found in _sequences(font).items() if glyph in bitmaps and _is_wanted(found)
    }
    distinct: dict[bytes, tuple[Sequences, np.ndarray]] = {}
    for glyph in sorted(sequences, key=lambda glyph: min(sequences[glyph])):
        picture = _on_white(bitmaps[glyph].imageData)
        distinct.setdefault(picture.tobytes(), (sequences[glyph], picture))
    return list(distinct.values())


def group_subjects(pictures: np.ndarray, subjects: list[set[int]]) -> np.ndarray:
    """Groups pictures that show the same subject or look alike.

    Two pictures belong together if their subjects share a code point, or if they look alike: averaged over
    blocks of 8 x 8 px, their root mean square difference is below 6 % of white. A group is a connected set of
    such pictures.

    Args:
      pictures: uint8 [N, 136, 136, 3].
      subjects: for each picture, the set of Unicode code points that say what it shows.

    Returns:
      For each picture, the index of the first picture of its group, int64 [N].
    """
    blocks = SIDE // _BLOCK
    by_block = pictures.reshape(-1, blocks, _BLOCK, blocks, _BLOCK, 3)
    sums = by_block.sum(2, dtype=np.uint16).sum(3, dtype=np.uint16)
    # Whole numbers, whose products are below 2^53: float64 is exact.
    sums = sums.reshape(len(pictures), -1).astype(np.float64)
    squares = (sums**2).sum(1)
    distances = squares[:, None] + squares - 2 * sums @ sums.T
    alike = distances < sums.shape[1] * (_ALIKE * 255 * _BLOCK**2) ** 2
    points = sorted(set().union(*subjects))
    members = np.array([[point in subject for point in points] for subject in subjects], np.float32)
    linked = alike | (members @ members.T > 0)
    groups = np.arange(len(pictures))
    while True:
        lowered = np.where(linked, groups, len(groups)).min(1)
        if np.array_equal(lowered, groups):
            return groups
        groups = lowered


def hold_out(names: list[str], groups: np.ndarray) -> np.ndarray:
    """Chooses the test split of the emoji: about one in ten groups of similar pictures.

    A hash of the first name in a group decides. Groups of more than ten pictures (people, clocks) stay in the
    training split.

    Args:
      names: the name of each picture, hexadecimal code points such as '1F408-200D-2B1B'.
      groups: for each picture, the index of the first picture of its group, int64 [N].

    Returns:
      bool [N], True for pictures of the test split.
    """
    digests = [hashlib.sha256(names[group].encode()).digest() for group in groups]
    drawn = np.array([int.from_bytes(digest[:8], 'big') % _TEST_ONE_IN == 0 for digest in digests])
    return drawn & (np.bincount(groups)[groups] <= _LARGEST_IN_TEST)


def _sequences(font: ttLib.TTFont) -> dict[str, Sequences]:
    """Returns {glyph: the sequences of code points that reach the glyph}."""
    found: dict[str, Sequences] = {}
    for point, glyph in font.getBestCmap().items():
        found.setdefault(glyph, set()).add((point,))
    single = {glyph: min(points) for glyph, points in found.items()}
    for first, ligature in _ligatures(font):
        glyphs = (first, *ligature.Component)
        if all(glyph in single for glyph in glyphs):
            sequence = tuple(point for glyph in glyphs for point in single[glyph])
            found.setdefault(ligature.LigGlyph, set()).add(sequence)
    return found


def _ligatures(font: ttLib.TTFont) -> Iterator[tuple[str, Any]]:
    """Yields pairs (first glyph, ligature) of a font."""
    lookups = font['GSUB'].table.LookupList.Lookup if 'GSUB' in font else []
    for lookup in lookups:
        for table in lookup.SubTable:
            table = getattr(table, 'ExtSubTable', table)
            if table.LookupType == _LIGATURES:
                for first, ligatures in table.ligatures.items():
                    yield from ((first, ligature) for ligature in ligatures)


def _is_wanted(sequences: Sequences) -> bool:
    points = {point for sequence in sequences for point in sequence}
    is_piece = any((piece,) in sequences for piece in _PIECES)
    return not points & (_SKIN_TONES | _FLAG_LETTERS) and not is_piece


def _subject(sequences: Sequences) -> set[int]:
    """Returns the code points of a picture without people and signs.

    A sequence with two or more people (a couple, a family) counts as people only.
    """
    subject: set[int] = set()
    for sequence in sequences:
        others = set(sequence) - _PEOPLE - _SIGNS
        people = sum(point in _PEOPLE for point in sequence)
        if others and people < 2:
            subject |= others
        elif people:
            subject.add(_PERSON)
        else:
            subject |= set(sequence)
    return subject


def _on_white(png: bytes) -> np.ndarray:
    """Decodes a picture and centres it on white, uint8 [136, 136, 3]."""
    with picture_files.open_picture(io.BytesIO(png)) as image:
        if max(image.size) > SIDE:
            raise ValueError(f'a picture of {image.width} x {image.height} px, {SIDE} at most are expected')
        picture = image.convert('RGBA')
    canvas = Image.new('RGBA', (SIDE, SIDE), 'white')
    canvas.alpha_composite(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    return np.asarray(canvas.convert('RGB'))
