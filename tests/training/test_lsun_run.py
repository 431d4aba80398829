"""The real command on LSUN: an LMDB of photographs is prepared by other processes, trained on at two sizes,
sampled and scored."""

import contextlib
import io
import json
import shutil

import keras
import numpy as np
import pytest
from helpers.tiny import call, refused

from drl_tf.cli.main import main
from drl_tf.data import images
from drl_tf.tools.photographs import encoded, photographs, write_lmdb

TINY = [
    '--dataset=lsun_church', '--channels=8', '--channel_mult=1', '--num_res_blocks=1', '--num_levels=1',
    '--mcmc_steps=1', '--batch_size=2', '--warmup_steps=0', '--precision=float32', '--grid_every=0',
]  # fmt: skip


@pytest.fixture(scope='module')
def places(tmp_path_factory):
    """Arguments for the LMDBs of the user and for what is made of them, which all tests share."""
    directory = tmp_path_factory.mktemp('lsun')
    for split, count, seed in (('train', 16, 0), ('val', 4, 1)):
        files = [encoded(picture) for picture in photographs(count, seed=seed)]
        write_lmdb(directory / f'manual/church_outdoor_{split}_lmdb', files)
    return directory


def command(places, size, modes, *arguments):
    """Two steps of training, and what the modes add; the arguments of the command."""
    return [
        *TINY,
        f'--image_size={size}',
        f'--mode={modes}',
        '--train_steps=2',
        f'--data_dir={places / "data"}',
        f'--manual_dir={places / "manual"}',
        f'--workdir={places / str(size)}',
        *arguments,
    ]


@pytest.fixture(scope='module')
def prepared(places):
    """The workdir of the first run, whose command prepares the pictures, and what it printed."""
    network = places / 'means.keras'
    keras.Sequential([keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D()]).save(network)
    options = ['--num_samples=4', '--sample_batch_size=4', f'--extractor={network}']
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(['run.py', *command(places, 64, 'train,sample,evaluate', *options)]) == 0
    return places / '64', out.getvalue()


def test_one_command_prepares_and_trains_and_samples(prepared):
    workdir, out = prepared
    assert 'preparing 16 pictures of' in out
    assert [path.name for path in (workdir / 'checkpoints').iterdir()] == ['00000002']
    (samples,) = (workdir / 'samples').glob('*/*.npz')
    images = np.load(samples, allow_pickle=False)['images']
    assert (images.shape, images.dtype) == ((4, 64, 64, 3), np.uint8) and images.std() > 0


def test_it_is_scored(prepared):
    workdir, out = prepared
    assert 'Fréchet distance' in out and 'FID' not in out
    (path,) = (workdir / 'evaluation').glob('*.json')
    score = json.loads(path.read_text())
    assert score['frechet_distance_means'] > 0
    assert (score['num_samples'], score['num_real'], score['real']) == (
        4,
        16,
        'the first 16 images of the train split of lsun_church at 64 px',
    )


@pytest.mark.usefixtures('prepared')
def test_another_size_trains_on_what_is_there(places, capfd):
    code, out, err = call(capfd, *command(places, 128, 'train'))
    assert code == 0 and 'preparing' not in out, err
    assert {path.name for path in (places / 'data/lsun').iterdir()} == {'.config', 'church_outdoor'}


@pytest.mark.usefixtures('prepared')
def test_a_shard_that_breaks_in_mid_training_is_said_in_one_line(places, capfd, tmp_path, monkeypatch):
    """Flipped bytes leave the file as long as it was, so that they show only when they are read."""
    monkeypatch.setattr(images, 'MAX_BYTES_IN_MEMORY', 0)
    shutil.copytree(places / 'data', tmp_path / 'data')
    (shard,) = (tmp_path / 'data/lsun/church_outdoor/3.1.0').glob('*train.tfrecord*')
    content = bytearray(shard.read_bytes())
    content[-1000] ^= 255
    shard.write_bytes(content)
    options = [
        '--image_size=64',
        '--train_steps=20',
        f'--data_dir={tmp_path}/data',
        f'--workdir={tmp_path}/run',
    ]
    assert 'lsun_church has a damaged file' in refused(capfd, *TINY, *options)


def test_a_place_without_pictures_is_refused_with_one_line(tmp_path, capfd):
    (tmp_path / 'church_outdoor_train_lmdb').mkdir()
    message = refused(
        capfd,
        *TINY,
        f'--data_dir={tmp_path / "data"}',
        f'--manual_dir={tmp_path}',
        f'--workdir={tmp_path / "run"}',
    )
    assert 'lsun/church_outdoor is not in --data_dir=' in message
    assert not (tmp_path / 'run').exists()
