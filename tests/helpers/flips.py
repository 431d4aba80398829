"""Single bits of files, flipped."""

import numpy as np

from drl_tf.base.errors import UserError


def flipped(path, index=None):
    """Flips the lowest bit of a byte of a file, of the one in the middle where `index` is None."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if index is None else index] ^= 1
    path.write_bytes(content)


def refusals(path, every, read, images):
    """How often `read()` refuses with one bit of every so many bytes flipped; each other time it must give
    the images."""
    refused = 0
    for index in range(0, path.stat().st_size, every):
        flipped(path, index)
        try:
            np.testing.assert_array_equal(read(), images)
        except UserError:
            refused += 1
        flipped(path, index)
    return refused
