"""Reads weights from files of PyTorch before version 1.6, without PyTorch and without running their code."""

import collections
import dataclasses
import pickle
import struct
from typing import Any, BinaryIO

import numpy as np

from drl_tf.base.errors import UserError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

# The errors that pickle and NumPy raise on damaged bytes.
_DAMAGE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    ImportError,
    OverflowError,
    MemoryError,
    struct.error,
)


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """The place of a tensor: its storage (key, dtype), offset in elements, shape, and strides in elements.

    `requires_grad` and `hooks` matter to PyTorch's training only.
    """

    storage: tuple[str, np.dtype]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool
    hooks: dict


_NAMES = {
    ('collections', 'OrderedDict'): collections.OrderedDict,
    ('torch._utils', '_rebuild_tensor_v2'): _Tensor,
    ('torch', 'FloatStorage'): np.dtype('<f4'),
    ('torch', 'LongStorage'): np.dtype('<i8'),
}


class _Unpickler(pickle.Unpickler):
    """Knows ordered dicts, tensors and storages; refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f'it asks for {module}.{name}')
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype]:
        kind, dtype, key, _device, _size, _view = pid
        if kind != 'storage' or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f'it holds a {kind} of {dtype}')
        return key, dtype


def read(path: str) -> dict[str, np.ndarray]:
    """Reads the weights in a file that `torch.save` of PyTorch before version 1.6 wrote.

    Returns:
      {name of a weight: array}.

    Raises:
      UserError: the file cannot be read, is damaged, has another format, or holds more than tensors.
    """
    try:
        with open(path, 'rb') as file:
            magic, protocol, _machine, tensors, keys = (_Unpickler(file).load() for _ in range(5))
            if (magic, protocol) != (_MAGIC, _PROTOCOL):
                raise ValueError('it is of another format')
            dtypes = dict(tensor.storage for tensor in tensors.values())
            storages = {key: _storage(file, dtypes[key]) for key in keys}
        return {name: _array(tensor, storages[tensor.storage[0]]) for name, tensor in tensors.items()}
    except (OSError, pickle.PickleError, *_DAMAGE) as error:
        raise UserError(f'{path} holds no readable weights ({error})') from error


def _storage(file: BinaryIO, dtype: np.dtype) -> np.ndarray:
    (count,) = struct.unpack('<q', file.read(8))
    return np.frombuffer(file.read(count * dtype.itemsize), dtype)


def _array(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    """Returns a tensor as a view of its storage; NumPy refuses a view that goes beyond the storage."""
    size = storage.itemsize
    strides = [stride * size for stride in tensor.strides]
    return np.ndarray(tensor.shape, storage.dtype, storage.data, tensor.offset * size, strides)
