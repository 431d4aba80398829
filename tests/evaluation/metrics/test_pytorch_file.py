import io
import os
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest

from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics import pytorch_file


class Named:
    """Pickles as the name of something that need not exist here."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Stored(tuple):
    """Pickles as a reference to a storage."""


class Pickler(pickle._Pickler):
    """Python's own, which can be told to write names that cannot be imported."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_name(self, named):
        self.write(b'c' + f'{named.module}\n{named.name}\n'.encode())

    dispatch[Named] = save_name

    def persistent_id(self, value):
        return tuple(value) if type(value) is Stored else None

    def save_reduce(self, func, *arguments, **options):
        if isinstance(func, Named):
            self.save(func)
            self.save(arguments[0])
            self.write(pickle.REDUCE)
        else:
            super().save_reduce(func, *arguments, **options)


def pickled(value):
    file = io.BytesIO()
    Pickler(file, protocol=2).dump(value)
    return file.getvalue()


FLOATS, LONGS = Named('torch', 'FloatStorage'), Named('torch', 'LongStorage')


class Tensor:
    """Pickles as PyTorch pickles a tensor."""

    def __init__(self, key, shape, strides, offset=0, storage=FLOATS, count=6, rebuild=None):
        self.rebuild = rebuild or Named('torch._utils', '_rebuild_tensor_v2')
        self.arguments = (
            Stored(('storage', storage, key, 'cpu', count, None)),
            offset,
            shape,
            strides,
            False,
            OrderedDict(),
        )


Pickler.dispatch[Tensor] = lambda pickler, tensor: pickler.save_reduce(tensor.rebuild, tensor.arguments)


def content(tensors, storages, magic=0x1950A86A20F9469CFC6C, protocol=1001):
    head = [magic, protocol, {'little_endian': True}, tensors, list(storages)]
    parts = [struct.pack('<q', len(values)) + values.tobytes() for values in storages.values()]
    return b''.join([pickled(value) for value in head] + parts)


STORAGES = {'1': np.arange(6, dtype=np.float32), '2': np.array([7], np.int64)}


def read(tmp_path, tensors, **options):
    path = tmp_path / 'weights.pth'
    path.write_bytes(content(OrderedDict(tensors), STORAGES, **options))
    return pytorch_file.read(path)


def test_tensors_of_any_strides_and_types(tmp_path):
    tensors = read(
        tmp_path,
        {
            'rows': Tensor('1', (2, 3), (3, 1)),
            'columns': Tensor('1', (2, 3), (1, 2)),
            'part': Tensor('1', (2,), (1,), offset=4),
            'steps': Tensor('2', (), (), storage=LONGS, count=1),
        },
    )
    np.testing.assert_array_equal(tensors['rows'], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(tensors['columns'], [[0, 2, 4], [1, 3, 5]])
    np.testing.assert_array_equal(tensors['part'], [4, 5])
    assert (
        tensors['rows'].dtype == np.float32 and tensors['steps'].dtype == np.int64 and tensors['steps'] == 7
    )


def test_a_pickle_that_calls_a_command_is_refused_and_runs_nothing(tmp_path):
    marker = tmp_path / 'ran'
    with pytest.raises(UserError, match=r'weights\.pth.*posix\.system'):
        read(tmp_path, {'weight': Call(os.system, f'touch {marker}')})
    assert not marker.exists()
    pickle.loads(pickle.dumps(Call(os.system, f'touch {marker}')))
    assert marker.exists()


@pytest.mark.parametrize(
    'name',
    [
        ('builtins', 'eval'),
        ('torch', 'load'),
        ('torch._utils', '_rebuild_tensor'),
        ('collections', 'Counter'),
    ],
)
def test_other_names_are_refused(tmp_path, name):
    with pytest.raises(UserError, match=r'it asks for ' + r'\.'.join(name)):
        read(tmp_path, {'weight': Tensor('1', (6,), (1,), rebuild=Named(*name))})


@pytest.mark.parametrize(
    'shape, strides, offset',
    [((7,), (1,), 0), ((6,), (1,), 1), ((2, 3), (4, 1), 0), ((3,), (-1,), 0), ((6,), (1,), -1)],
)
def test_a_tensor_that_goes_beyond_its_storage_is_refused(tmp_path, shape, strides, offset):
    with pytest.raises(UserError, match='no readable weights'):
        read(tmp_path, {'weight': Tensor('1', shape, strides, offset)})


@pytest.mark.parametrize('length', [0, 10, 100, -1, -30])
def test_a_file_cut_short_is_named(tmp_path, length):
    path = tmp_path / 'short.pth'
    path.write_bytes(content(OrderedDict(weight=Tensor('1', (6,), (1,))), {'1': STORAGES['1']})[:length])
    with pytest.raises(UserError, match=r'short\.pth'):
        pytorch_file.read(path)


@pytest.mark.parametrize('count', [-1, 3, 2**40, 2**62])
def test_a_storage_of_a_wrong_length_is_refused(tmp_path, count):
    path = tmp_path / 'wrong.pth'
    whole = content(OrderedDict(weight=Tensor('1', (6,), (1,))), {'1': STORAGES['1']})
    path.write_bytes(whole[:-32] + struct.pack('<q', count) + whole[-24:-4])
    with pytest.raises(UserError, match=r'wrong\.pth'):
        pytorch_file.read(path)


@pytest.mark.parametrize('written', [b'PK\x03\x04 a zip', b'\x89HDF', pickle.dumps([1, 2]) * 5])
def test_files_of_other_formats_are_named(tmp_path, written):
    path = tmp_path / 'other.pth'
    path.write_bytes(written)
    with pytest.raises(UserError, match=r'other\.pth'):
        pytorch_file.read(path)


def test_another_version_is_named(tmp_path):
    with pytest.raises(UserError, match='another format'):
        read(tmp_path, {}, protocol=1002)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r'absent\.pth'):
        pytorch_file.read(tmp_path / 'absent.pth')
