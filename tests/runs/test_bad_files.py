"""Damaged and hostile checkpoints, statistics and sets of samples: the same numbers, or a refusal that names
the file."""

import dataclasses
import io
import json
import pathlib
import shutil
import tempfile
import zipfile

import numpy as np
import pytest
from helpers.hostile import Trap, check_trap, damaged, tries
from helpers.tiny import TINY
from hypothesis import given
from hypothesis import strategies as st

from drl_tf.base.errors import UserError
from drl_tf.cli import parsing
from drl_tf.core.build_model import build_model
from drl_tf.data import image_files
from drl_tf.evaluation.metrics import statistics
from drl_tf.evaluation.metrics.extractors import Extractor
from drl_tf.runs import checkpoint, samples
from drl_tf.training.optimizers import compiled_model

SHAPE = (2, 2, 1)
PLAIN = Extractor(
    'plain', 'abcdef012345', 'none', lambda images: (images.reshape(len(images), -1).astype(np.float32), None)
)
TINIEST = ['--image_size=4', '--channels=4', '--num_levels=2', '--mcmc_steps=1']


@pytest.fixture(scope='module')
def sealed(tmp_path_factory):
    """A model and the workdir of its one checkpoint."""
    workdir = tmp_path_factory.mktemp('runs') / 'tiniest'
    config = parsing.configuration_of([*TINY, *TINIEST])
    model = compiled_model(config)
    config.save(workdir)
    checkpoint.save(model, workdir)
    return build_model(config), workdir


def weights_of(model):
    return [weight.numpy() for pair in model.averages for network in pair for weight in network.weights]


def harm(data, directory):
    """Damages, loses or swaps a file of a checkpoint; returns the names of the files concerned."""
    file, other = data.draw(st.permutations(sorted(directory.iterdir())))[:2]
    content, elsewhere = file.read_bytes(), other.read_bytes()
    kind = data.draw(st.sampled_from(['damage', 'damage', 'damage', 'lose', 'swap', 'copy', 'manifest']))
    if kind == 'damage':
        file.write_bytes(data.draw(damaged(content)))
    elif kind == 'lose':
        file.unlink()
    elif kind == 'manifest':
        file = directory / 'manifest.json'
        tree = json.loads(file.read_text())
        values = [None, 1, [], {'bytes': -1}, {'sha': ''}, 'x']
        tree[data.draw(st.sampled_from(sorted(tree)))] = data.draw(st.sampled_from(values))
        trees = [tree, [tree], None, 1, 'x', {'../../x': {}}]
        file.write_text(json.dumps(data.draw(st.sampled_from(trees))))
    else:
        file.write_bytes(elsewhere)
        other.write_bytes(content if kind == 'swap' else elsewhere)
    return file.name, other.name


@tries(60)
@given(data=st.data())
def test_damaged_checkpoints(sealed, data):
    """A file of a checkpoint is damaged, lost or swapped; weights and files stay as they were."""
    model, workdir = sealed
    checkpoint.restore(model, workdir)
    before = weights_of(model)
    with tempfile.TemporaryDirectory() as parent:
        copy = pathlib.Path(parent) / 'run'
        shutil.copytree(workdir, copy)
        path = pathlib.Path(checkpoint.find(copy, 0))
        names = harm(data, path)
        left = {file: file.read_bytes() for file in path.iterdir()}
        try:
            checkpoint.restore(model, copy)
        except UserError as error:
            assert str(path) in str(error) and '\n' not in str(error)
            assert 'manifest.json' in names or any(name in str(error) for name in names), error
        for mine, former in zip(weights_of(model), before, strict=True):
            np.testing.assert_array_equal(mine, former)
        assert left == {file: file.read_bytes() for file in path.iterdir()}


def packed(**arrays):
    """A `.npz` file; what is no array is pickled."""
    file = io.BytesIO()
    np.savez(
        file,
        **{
            name: value if isinstance(value, np.ndarray) else np.array([value], object)
            for name, value in arrays.items()
        },
    )
    return file.getvalue()


@st.composite
def arrays(draw, sound):
    """The fields of a `.npz` file, some of another shape, type or content, lost, or new."""
    fields = dict(sound)
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(sound)))
        old = np.asarray(sound[name])
        change = draw(
            st.sampled_from(
                ['lost', 'new', 'shape', 'rank', 'type', 'nan', 'empty', 'object', 'text', 'negative']
            )
        )
        if change == 'lost':
            fields.pop(name, None)
        elif change == 'new':
            fields[draw(st.sampled_from(['x', 'pool_3', 'images']))] = np.zeros(draw(st.integers(0, 3)))
        else:
            fields[name] = {
                'shape': lambda old=old: np.concatenate([np.atleast_1d(old)] * 2),
                'rank': lambda old=old: old[None],
                'type': lambda old=old: old.astype(
                    'U7' if old.dtype.kind == 'U' else draw(st.sampled_from(['U7', 'S3', bool, complex]))
                ),
                'nan': lambda old=old: np.full(old.shape, np.nan),
                'empty': lambda: np.zeros(draw(st.sampled_from([0, (0, 0), (0, 3), ()]))),
                'object': lambda old=old: old.astype(object),
                'text': lambda: np.array(
                    draw(st.sampled_from(['{}', '[]', '[' * 99999, '{"mean": 1}', 'null']))
                ),
                'negative': lambda old=old: (
                    -old if old.dtype.kind == 'f' and old.shape == (4, 4) else np.array('1')
                ),
            }[change]()
    return packed(**fields)


def fields_of(content):
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


FOUND = statistics.summarise(
    PLAIN, [np.random.default_rng(0).integers(0, 256, [30, *SHAPE], np.uint8)], 'pictures', keep=20
)[0]


@pytest.fixture(scope='module')
def statistics_file(tmp_path_factory):
    path = tmp_path_factory.mktemp('statistics') / 's.npz'
    FOUND.save(path)
    return path


@tries(200)
@given(data=st.data())
def test_bad_statistics(statistics_file, data):
    fields, path = fields_of(statistics_file.read_bytes()), statistics_file.with_name('bad.npz')
    path.write_bytes(
        data.draw(st.one_of(damaged(statistics_file.read_bytes()), arrays(fields), descriptions(fields)))
    )
    try:
        found = statistics.load(path, PLAIN)
    except UserError as error:
        assert str(path) in str(error) and '\n' not in str(error)
        return
    for name in ('mean', 'covariance', 'features', 'count', 'extractor', 'resize'):
        np.testing.assert_array_equal(getattr(found, name), getattr(FOUND, name), err_msg=name)


@st.composite
def descriptions(draw, fields):
    """Statistics that say something else about themselves."""
    words = json.loads(str(fields['description']))
    name = draw(st.sampled_from(sorted(words)))
    value = draw(st.sampled_from([None, -1, 0, 1, 2.5, 1e400, True, [], {}, [2], 'x', '']))
    kind = draw(st.sampled_from(['value', 'lost', 'new', 'list']))
    if kind == 'value' and name != 'images':
        words[name] = value
    elif kind == 'lost':
        del words[name]
    else:
        words[draw(st.sampled_from(['mean', 'x', 'self']))] = value
    return packed(**{**fields, 'description': np.array(json.dumps([words] if kind == 'list' else words))})


def drawn(directory, count=5, per_shard=2):
    """A set of samples as `samples.draw` leaves it, and its images."""
    images = np.random.default_rng(1).integers(0, 256, [count, *SHAPE], np.uint8)
    settings = {'seed': 3, 'first': 10, 'num_samples': count, 'image_shape': list(SHAPE)}
    (directory / 'samples.json').write_text(json.dumps({'settings': settings, 'images_per_shard': per_shard}))
    shards = -(-count // per_shard)
    for index in range(shards):
        part = images[index * per_shard : (index + 1) * per_shard]
        with open(directory / f'images-{index:05d}-of-{shards:05d}.npz', 'wb') as file:
            np.savez(file, images=part, first=10 + index * per_shard, seed=3)
    return images


@tries(200)
@given(data=st.data())
def test_bad_sets_of_samples(data):
    with tempfile.TemporaryDirectory() as directory:
        place = pathlib.Path(directory)
        images = drawn(place)
        path = data.draw(st.sampled_from(sorted(place.iterdir())))
        content = path.read_bytes()
        if path.name == 'samples.json':
            path.write_bytes(data.draw(st.one_of(damaged(content), sets(json.loads(content)))))
        else:
            path.write_bytes(data.draw(st.one_of(damaged(content), arrays(fields_of(content)))))
        try:
            found = np.concatenate(list(samples.read(place, SHAPE)))
            assert samples.count(place) == len(found)
        except UserError as error:
            assert str(place) in str(error) and '\n' not in str(error)
        else:
            np.testing.assert_array_equal(found, images)


@st.composite
def sets(draw, sound):
    """The text of a `samples.json` that says something else."""
    tree = json.loads(json.dumps(sound))
    part = draw(st.sampled_from([tree, tree['settings']]))
    name = draw(st.sampled_from(sorted(part)))
    part[name] = draw(
        st.sampled_from([None, -1, 0, 10**12, 10**400, 2.5, '5', True, [], {}, [2, 2], 'abc', [None], 1])
    )
    if draw(st.booleans()):
        del part[name]
    return draw(st.sampled_from([json.dumps(tree), json.dumps([tree]), '[' * 99999])).encode()


@tries(200)
@given(data=st.data(), extension=st.sampled_from(['.npz', '.npy']))
def test_bad_arrays_of_samples(data, extension):
    """Images in a file of another program."""
    images = np.random.default_rng(2).integers(0, 256, [5, *SHAPE], np.uint8)
    file = io.BytesIO()
    (np.savez if extension == '.npz' else np.save)(file, images)
    content = file.getvalue()
    headers = st.sampled_from([b'-5', b'10**9', b'99999999999999', b'0', b'None', b'5.0', b'True', b'(5,)'])
    other = headers.map(lambda number: content.replace(b'(5, 2, 2, 1)', b'(%s, 2, 2, 1)' % number))
    kinds = [damaged(content), *([other] if extension == '.npy' else [arrays({'arr_0': images})])]
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / f'theirs{extension}'
        path.write_bytes(data.draw(st.one_of(*kinds)))
        try:
            found = np.concatenate(list(image_files.read(path, SHAPE)))
            assert image_files.count(path) == len(found)
        except UserError as error:
            assert str(path) in str(error) and '\n' not in str(error)
        else:  # A .npy file has no checksum: a changed grey level cannot be seen, a lost one can.
            assert found.shape[1:] == SHAPE and (
                extension == '.npy' or len(found) != 5 or np.array_equal(found, images)
            )


@pytest.mark.parametrize('name', ['mean', 'covariance', 'features', 'description', 'pool_3'])
def test_a_pickle_in_statistics_is_not_run(tmp_path, statistics_file, name):
    check_trap(tmp_path / 'sprung')
    path = tmp_path / 's.npz'
    path.write_bytes(packed(**{**fields_of(statistics_file.read_bytes()), name: Trap(tmp_path / 'sprung')}))
    with pytest.raises(UserError, match=r's\.npz cannot be read'):
        statistics.load(path, dataclasses.replace(PLAIN, inception='standard'))
    assert not (tmp_path / 'sprung').exists()


@pytest.mark.parametrize('name', ['images', 'first', 'seed'])
def test_a_pickle_in_samples_is_not_run(tmp_path, name):
    drawn(tmp_path)
    path = tmp_path / 'images-00001-of-00003.npz'
    path.write_bytes(packed(**{**fields_of(path.read_bytes()), name: Trap(tmp_path / 'sprung')}))
    with pytest.raises(UserError, match=r'images-00001-of-00003\.npz is damaged'):
        list(samples.read(tmp_path, SHAPE))
    (tmp_path / 'theirs.npz').write_bytes(packed(images=Trap(tmp_path / 'sprung')))
    np.save(tmp_path / 'theirs.npy', np.array([Trap(tmp_path / 'sprung')], object))
    for theirs in ('theirs.npz', 'theirs.npy'):
        with pytest.raises(UserError, match='theirs'):
            list(image_files.read(tmp_path / theirs, SHAPE))
    assert not (tmp_path / 'sprung').exists()


def test_files_that_unpack_to_more_than_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, 'MAX_BYTES', 2**20)
    with zipfile.ZipFile(tmp_path / 's.npz', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('mean.npy', bytes(2**21))
    with pytest.raises(UserError, match='more than 1,048,576 bytes'):
        statistics.load(tmp_path / 's.npz', PLAIN)
