"""Every kind of data of the user is read, trained on and resumed, through the command."""

import functools
import os
import shutil
import signal

import numpy as np
import pytest
from helpers import own_data
from helpers.tiny import TINY_NETWORK, call, refused

from drl_tf.base.errors import UserError
from drl_tf.cli import parsing
from drl_tf.config import config as configuration
from drl_tf.data import images, indexed, pipeline, tfds_pictures
from drl_tf.distributed import workers
from drl_tf.tools import kills
from drl_tf.training import batches, train
from drl_tf.training.stopping import StopAtEnd

# The network is tiny; the recipe is that of folders.
OPTIONS = [
    *TINY_NETWORK, '--batch_size=8', '--num_levels=2', '--grid_every=0', '--precision=float32',
    '--log_every=1', '--checkpoint_every=2', '--num_classes=-1',
]  # fmt: skip
KINDS = pytest.mark.parametrize('kind', own_data.KINDS)


@pytest.fixture(autouse=True)
def fresh():
    indexed.forget()


@pytest.fixture(scope='module')
def options_of(tmp_path_factory):
    """A function from a kind to the options that read its data, which are written once and not changed."""
    return functools.cache(lambda kind: own_data.write(kind, tmp_path_factory.mktemp(kind)))


def of(options):
    return parsing.configuration_of([*options, '--num_classes=-1']).data


def levels(shown):
    """The number of each picture, from its grey level in [-1, 1] or 0 to 255."""
    grey = np.asarray(shown)[:, 0, 0, 0]
    return np.rint((grey + 1) * 12.75 if grey.dtype == np.float32 else grey / 10).astype(int).tolist()


def drawn(data, count=6, **kwargs):
    """Numbers and classes of the first batches."""
    batches = list(pipeline.training_images(data, 8, seed=1, **kwargs).take(count).as_numpy_iterator())
    pictures, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    return levels(pictures), labels.tolist()


@KINDS
def test_each_kind_has_shape_classes_and_held_out_pictures(options_of, kind):
    data = of(options_of(kind))
    assert data.image_shape == (8, 8, 3) and data.num_classes == 2
    splits = {split: levels(pipeline.load_images(data, split)) for split in ('train', 'test')}
    assert len(splits['test']) == pipeline.count_images(data, 'test') == 1
    assert sorted(splits['train'] + splits['test']) == list(range(own_data.COUNT))
    for split, numbers in splits.items():
        assert pipeline.load_labels(data, split).tolist() == [number % 2 for number in numbers]


@KINDS
def test_each_kind_has_its_own_order_by_seed_and_epoch(options_of, monkeypatch, kind):
    """Each epoch shows every picture once with its class, in another order. The order is the same from any
    first step and for any split of the batch into rows, and where pictures are streamed."""
    data = of(options_of(kind))
    trained, held_out = (levels(pipeline.load_images(data, split)) for split in ('train', 'test'))
    numbers, labels = drawn(data, 23)
    epochs = np.reshape(numbers, [8, 23])
    assert all(set(epoch) == set(trained) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 8
    assert labels == [number % 2 + 1 for number in numbers]
    assert drawn(data, 19, first_step=4)[0] == numbers[32:]
    rows = [drawn(data, 23, rows=rows)[0] for rows in (slice(0, 4), slice(4, 8))]
    merged = np.concatenate([np.reshape(part, [23, 4]) for part in rows], axis=1)
    assert merged.ravel().tolist() == numbers
    indexed.forget()
    monkeypatch.setattr(images, 'MAX_BYTES_IN_MEMORY', 1)
    streamed, labels = drawn(data, 23)
    if kind in ('tfds', 'tfrecords'):  # By strands, each in an order of its own.
        assert set(streamed) == set(numbers)
    else:
        assert streamed == numbers
    assert labels == [number % 2 + 1 for number in streamed]
    assert levels(pipeline.load_images(data, 'test')) == held_out


def stop_at(monkeypatch, step):
    """Sends SIGTERM to this process at the end of a step of training."""
    after = StopAtEnd.on_train_batch_end

    def signalled(self, batch, logs=None):
        if self.first_step + batch + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)
        after(self, batch, logs)

    monkeypatch.setattr(StopAtEnd, 'on_train_batch_end', signalled)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['hf', 'tfds'])
def test_a_run_of_each_kind_resumes_to_the_bit(options_of, tmp_path, capsys, kind):
    """From a checkpoint of step 2. The code of `hf` reads Parquet files too, that of `tfds` TFRecord files.
    Data of `npz` and `python` are arrays; test_folder_run trains a folder."""
    command = [*OPTIONS, *options_of(kind), '--train_steps=4']
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    code, _, err = call(capsys, *command, f'--workdir={whole}')
    assert code == 0, err
    shutil.copytree(whole, parts)
    shutil.rmtree(parts / 'checkpoints' / '00000004')
    indexed.forget()
    tfds_pictures.forget()
    code, out, err = call(capsys, *command, f'--workdir={parts}')
    assert code == 0 and 'resuming at step 2' in out, err
    assert kills.equal(kills.state(parts, step=4), kills.state(whole, step=4))
    kept = configuration.load(parts)
    assert kept.image_shape == (8, 8, 3) and kept.data.num_classes == 2


def test_training_is_interrupted_and_resumes_to_the_bit(options_of, tmp_path, capsys, monkeypatch):
    """A signal in the third of four steps, and a further command, give the bits of four steps at once."""
    command = [*OPTIONS, *options_of('npz'), '--train_steps=4']
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    code, _, err = call(capsys, *command, f'--workdir={whole}')
    assert code == 0, err
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        code, _, err = call(capsys, *command, f'--workdir={parts}')
    assert code == 128 + signal.SIGTERM and 'SIGTERM came: saved at step 3' in err
    indexed.forget()
    code, out, err = call(capsys, *command, f'--workdir={parts}')
    assert code == 0 and 'resuming at step 3' in out, err
    expected = kills.state(whole, step=4)
    assert [line['step'] for line in expected[1] if 'loss' in line] == [1, 2, 3, 4]
    assert kills.equal(kills.state(parts, step=4), expected)
    kept = configuration.load(parts)
    assert kept.image_shape == (8, 8, 3) and kept.data.num_classes == 2
    assert kept.diffusion.recipe == 'preconditioned'
    assert '--labels=2 must be from 0 to 1' in refused(
        capsys, '--mode=sample', f'--workdir={parts}', '--labels=2'
    )


@KINDS
def test_each_kind_is_prepared_as_records_that_hold_the_same(options_of, tmp_path, capsys, kind):
    options = options_of(kind)
    code, out, err = call(capsys, '--mode=prepare', *options, f'--output_dir={tmp_path}/prepared')
    assert code == 0 and '23 + 1 of 8 x 8 x 3, 2 classes' in out, err
    data, prepared = of(options), of([f'--dataset=tfrecords:{tmp_path}/prepared'])
    assert prepared.image_shape == data.image_shape and prepared.num_classes == 2
    for split in ('train', 'test'):
        pairs = [
            dict(
                zip(levels(pipeline.load_images(each, split)), pipeline.load_labels(each, split), strict=True)
            )
            for each in (data, prepared)
        ]
        assert pairs[0] == pairs[1]
    assert 'exists: give a new directory' in refused(
        capsys, '--mode=prepare', *options, f'--output_dir={tmp_path}/prepared'
    )


def test_a_run_refuses_data_with_other_classes(tmp_path, capsys):
    stored = parsing.configuration_of([*OPTIONS, *own_data.write('folder', tmp_path)])
    for directory in (tmp_path / 'w', tmp_path / 'w' / 'checkpoints' / '00000002'):
        stored.save(directory)
    extra = tmp_path / 'pictures' / 'cat' / 'a.png'
    extra.parent.mkdir()
    extra.write_bytes(own_data.png(1))
    indexed.forget()
    error = refused(capsys, f'--workdir={tmp_path}/w', '--train_steps=4')
    assert 'has 3 classes, and --num_classes=2' in error


@pytest.mark.parametrize('kept', [0, 40])
def test_a_picture_that_is_lost_during_training_is_named(tmp_path, capsys, monkeypatch, kept):
    """It vanishes, or is cut off, after the check of all pictures."""
    monkeypatch.setattr(images, 'MAX_BYTES_IN_MEMORY', 0)
    command = [*OPTIONS, *own_data.write('folder', tmp_path), f'--workdir={tmp_path}/w', '--train_steps=9']
    path = tmp_path / 'pictures' / 'bee' / '03.png'

    def lose(*_):
        content = path.read_bytes()[:kept]
        path.unlink()
        if content:
            path.write_bytes(content)

    monkeypatch.setattr(train, 'show_batches', lose)
    line = refused(capsys, *command)
    assert f'has a picture that can no longer be read ({path}: ' in line and 'from the last check' in line


def test_workers_with_other_pictures_are_refused(tmp_path, monkeypatch):
    """This process stands in for a second worker. Copies may lie elsewhere, with the same names."""
    config = parsing.configuration_of([*OPTIONS, *own_data.write('folder', tmp_path)])
    monkeypatch.setattr(workers, 'count', lambda: 2)
    said = []
    monkeypatch.setattr(workers, 'exchange', lambda value: said.append(value) or [value, value])
    batches.training_batches(config, 0)
    (of_chief,) = {value for value in said if value}

    monkeypatch.setattr(workers, 'exchange', lambda value: [of_chief if type(value) is str else None, value])
    (tmp_path / 'pictures').rename(tmp_path / 'copy')
    copied = config.replace(data_dir=f'{tmp_path}/copy')
    batches.training_batches(copied, 0)
    (tmp_path / 'copy' / 'bee' / '03.png').rename(tmp_path / 'copy' / 'bee' / '30.png')
    indexed.forget()
    with pytest.raises(UserError, match=r'other data than the chief .*23 \+ 1 pictures, .* the same files'):
        batches.training_batches(copied, 0)


def test_prepare_needs_a_new_directory_and_pictures(tmp_path, capsys):
    assert '--mode=prepare needs --output_dir' in refused(capsys, '--mode=prepare', '--dataset=digits')
    assert '--mode=prepare is for images' in refused(
        capsys, '--mode=prepare', '--dataset=toy_two_moons', f'--output_dir={tmp_path}/new'
    )
    assert not (tmp_path / 'new').exists()


@pytest.mark.slow
def test_rectangles_are_trained_on_and_sampled(tmp_path, capsys):
    """Sampling and export need no data."""
    command = [*OPTIONS, *own_data.write('folder', tmp_path), '--image_size=8', '--image_width=12']
    command.append('--num_classes=0')
    code, _, err = call(capsys, *command, '--train_steps=2', f'--workdir={tmp_path}/w')
    assert code == 0, err
    (tmp_path / 'pictures').rename(tmp_path / 'away')
    code, _, err = call(
        capsys,
        '--mode=sample,export',
        f'--workdir={tmp_path}/w',
        '--num_samples=2',
        '--max_samples=2',
    )
    assert code == 0, err
    (tmp_path / 'away').rename(tmp_path / 'pictures')
    (shard,) = (tmp_path / 'w' / 'samples').rglob('*.npz')
    assert np.load(shard)['images'].shape == (2, 8, 12, 3)
    assert 'must be a multiple of 2^1: --channel_mult halves it 1 times' in refused(
        capsys,
        *command[3:],
        '--channels=8',
        '--channel_mult=1,1',
        '--image_width=13',
        f'--workdir={tmp_path}/v',
    )
