"""Finds the image shape and the number of classes of the user's data, without TensorFlow."""

import dataclasses

from drl_tf.config import config
from drl_tf.data import array_file, folder, hugging_face, registered
from drl_tf.data.dataset_spec import DatasetSpec
from drl_tf.data.opened import Opened

# Sources whose pictures are read one by one.
OPEN = {
    'folder': folder.open_data,
    'npz': array_file.open_data,
    'parquet': hugging_face.open_parquet,
    'hf': hugging_face.open_hub,
    'python': registered.open_data,
}
_SIZE = 32  # Default height and width, in pixels, for pictures of several sizes.


@dataclasses.dataclass(frozen=True)
class Facts:
    """Image shape and number of classes of the user's data, as the function `look` finds them.

    Attributes:
      image_shape: (H, W, C) of the images; 32 x 32 px if the pictures have several sizes.
      num_classes: number of classes; 0: none; -1: not known, because the data were not opened.
    """

    image_shape: tuple[int, int, int]
    num_classes: int


def look(data: config.Data, spec: DatasetSpec) -> Facts:
    """Finds the image shape and the number of classes of the user's data, without decoding pictures.

    Args:
      data: options of the dataset.
      spec: description of the dataset, from `dataset_table.find_spec(data.dataset)`.

    Raises:
      UserError: the data are missing or damaged, or a Python package that reads them is missing.
    """
    if spec.source in OPEN:
        opened = OPEN[spec.source](data)
        return Facts(_shape(opened, spec), opened.num_classes)
    from drl_tf.data import tfds_features  # Takes most of a second.

    shape, num_classes = tfds_features.look(data.dataset, spec.tfds_name, data.data_dir)
    height, width, channels = shape
    if not (height and width):
        height = width = _SIZE
    return Facts((height, width, channels), num_classes)


def check(data: config.Data, spec: DatasetSpec) -> None:
    """Checks that the user's data exist and can be opened; raises UserError if not.

    Args:
      data: options of the dataset.
      spec: description of the dataset, from `dataset_table.find_spec(data.dataset)`. Built-in datasets are
        not checked.
    """
    if spec.num_classes == -1:
        look(data, spec)


def _shape(opened: Opened, spec: DatasetSpec) -> tuple[int, int, int]:
    height, width, channels = opened.image_shape or (_SIZE, _SIZE, 3)
    if spec.image_size:
        height = width = spec.image_size
    return (height, width, spec.image_channels or channels)
