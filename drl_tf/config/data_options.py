"""The options of data."""

import dataclasses
import os

from drl_tf.config.option_fields import option

DIGITS = ('digits', 'mnist')  # Datasets whose classes the digits classifier knows.
# Options that name files of one machine; they say nothing about a model.
LOCAL_PATHS = ('data_dir', 'manual_dir', 'labels_file')


def published(dataset: str) -> str:
    """Returns the name of a dataset to publish with a model: of hf:DIRECTORY only the last part of the path.

    The result begins with hf:./, so that it is no name on the Hub.

    Args:
      dataset: the value of --dataset.

    Examples:
      >>> published('hf:/home/me/private'), published('hf:org/pictures:large'), published('digits')
      ('hf:./private', 'hf:org/pictures:large', 'digits')
    """
    kind, _, place = dataset.partition(':')
    name, colon, configuration = place.partition(':')
    if kind != 'hf' or not (name.startswith(('/', '.', '~')) or os.path.exists(name)):
        return dataset
    return f'hf:./{os.path.basename(os.path.abspath(name))}{colon}{configuration}'


@dataclasses.dataclass(frozen=True)
class Data:
    """Data options: the dataset and its image size.

    `Config.data` holds one. Each field is an option of the command line; `python run.py --help` shows their
    help texts.
    """

    dataset: str = option(
        'digits',
        'Name of a dataset, or your own data: folder, npz:FILE, parquet:FILE_OR_DIR, tfrecords:DIR, '
        'tfds:NAME[/CONFIG], hf:NAME[:CONFIG].',
    )
    data_dir: str = option(
        '',
        'Directory of tensorflow-datasets or of the Hugging Face cache (default: their own), or of your '
        'pictures with --dataset=folder.',
        changes='always',
    )
    manual_dir: str = option(
        '', 'Directory of archives that you downloaded by hand; keep their names.', changes='always'
    )
    prepare_size: int = option(
        0,
        'Size in pixels at which to crop and store LSUN, losslessly; 0: store the original files.',
        low=0,
        high=1024,
    )
    image_size: int = option(0, 'Height and width in pixels; 0: those of the dataset.', low=0, high=1024)
    image_channels: int = option(
        0, '1 (grey), 3 (colour) or 2 (points); 0: that of the dataset.', choices=(0, 1, 2, 3)
    )
    data_mean: tuple[float, ...] = option(
        (),
        'Mean of the images in [-1, 1] for --energy=preconditioned: one number, or one per channel; '
        'default: measured when training begins.',
        low=-1,
        high=1,
    )
    data_std: float = option(
        0.0, 'Standard deviation of the images; 0: measured when training begins.', low=0, high=1
    )
    exact_images: int = option(
        0,
        'Training images of --energy=exact: the first ones, or random ones of your own data; 0: all, '
        'and their mirror images if training mirrors the dataset.',
        low=0,
    )
    num_classes: int = option(
        0,
        'Number of classes of a conditional model; 0: none, -1: those of the dataset.',
        low=-1,
        high=100_000,
    )
    image_width: int = option(
        0,
        'Width in pixels if it differs from --image_size, which is then the height: pictures are cropped to '
        'this shape. 0: that of the data, or square.',
        low=0,
        high=1024,
    )
    flip: str = option(
        'auto',
        'Mirror images at random in training; auto: as the dataset says. --flip and --noflip also work.',
        choices=('auto', 'yes', 'no'),
    )
    labels_file: str = option(
        '',
        'CSV or JSONL file with the columns file_name and label of the pictures of --dataset=folder.',
        changes='always',
    )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        return (self.image_size, self.image_width or self.image_size, self.image_channels)
