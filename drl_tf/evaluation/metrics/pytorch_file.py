"""Tensors from the files that PyTorch wrote before version 1.6, without PyTorch and without running what a
pickle may ask for."""

import collections
import dataclasses
import pickle
import struct

import numpy as np

from drl_tf.base.errors import UserError

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

# What pickles and numpy raise of bytes that are not what they should be.
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
    """Where a tensor lies: storage (key, dtype), offset in elements, shape, strides in elements; the rest
    says how to train it."""

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
    """Knows ordered dicts, tensors and storages, and refuses every other name."""

    def find_class(self, module, name):
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f'it asks for {module}.{name}')
        return _NAMES[module, name]

    def persistent_load(self, pid):
        kind, dtype, key, _device, _size, _view = pid
        if kind != 'storage' or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f'it holds a {kind} of {dtype}')
        return key, dtype


def read(path):
    """The tensors of a state dict, as `torch.save` wrote it before version 1.6.

    Such a file is five pickles (a magic number, the protocol's version, facts about the machine, the state
    dict with references to storages, the keys of the storages), then each storage in the order of the keys:
    its length, int64, and its elements.

    Args:
      path: the file.

    Returns:
      dict of names to numpy arrays.

    Raises:
      UserError: the file cannot be read, is damaged, is of another format, or its pickles ask for anything
        but tensors.
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
        raise UserError(f'{path} holds no weights that can be read ({error})') from error


def _storage(file, dtype):
    (count,) = struct.unpack('<q', file.read(8))
    return np.frombuffer(file.read(count * dtype.itemsize), dtype)


def _array(tensor, storage):
    """The tensor's view of its storage; numpy refuses one that goes beyond it."""
    size = storage.itemsize
    return np.ndarray(
        tensor.shape,
        storage.dtype,
        storage,
        tensor.offset * size,
        [stride * size for stride in tensor.strides],
    )
