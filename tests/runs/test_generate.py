"""The files that `--mode=sample` writes, their place, and the files that it leaves alone."""

import os
import pathlib
import shutil

import numpy as np
import pytest
from helpers import golden
from helpers.tiny import call, refused, set_options
from PIL import Image

from drl_tf.config import config
from drl_tf.runs import checkpoint, samples

SHAPE = (8, 8, 1)
DRAWN_BEFORE = 'all samples were drawn before'  # A line of stdout.


@pytest.fixture(scope='module')
def small_run(tmp_path_factory):
    """A copy of the small run of `t6` in `golden/`: 8 px, 2 levels."""
    return golden.copied('t6', tmp_path_factory.mktemp('t6') / 'w')


@pytest.fixture(scope='module')
def model(small_run):
    """The model of the small run."""
    options = config.load(small_run).replace(mcmc_steps=(1,))
    return checkpoint.load_model(small_run, options)[0]


@pytest.fixture
def loaded(monkeypatch, model):
    """The workdirs whose model the commands loaded; they draw from that of the small run."""
    loaded = []
    monkeypatch.setattr(
        checkpoint, 'load_model', lambda workdir, *_: loaded.append(workdir) or (model, golden.STEPS)
    )
    return loaded


@pytest.fixture
def sample(capsys, small_run, loaded):
    """Samples four images of the small run; the lines of stdout."""

    def run(*arguments):
        code, out, err = call(
            capsys, '--mode=sample', f'--workdir={small_run}', '--num_samples=4', '--mcmc_steps=1', *arguments
        )
        assert code == 0, err
        return out.splitlines()

    return run


def test_single_images_are_those_of_the_set(sample, small_run, tmp_path):
    """The run is read only, where the samples go elsewhere."""
    before = sorted(small_run.rglob('*'))
    lines = sample(f'--output_dir={tmp_path}/out', '--save_images', '--first_sample=2')
    assert sorted(small_run.rglob('*')) == before
    assert sorted(path.suffix for path in (tmp_path / 'out').iterdir()) == ['', '', '.png', '.png']
    drawn = np.concatenate(list(samples.read(lines[-1].split()[-1], SHAPE)))
    files = sorted(pathlib.Path(lines[-2].split()[-1]).iterdir())
    assert [path.name for path in files] == [f'{index:06d}.png' for index in range(2, 6)]
    for path, image in zip(files, drawn, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image[..., 0])


def test_a_repeated_call_loads_no_model(sample, loaded, tmp_path):
    """A repeated call loads no model. Another seed, a missing grid and a missing image make it draw."""
    options = [f'--output_dir={tmp_path}/out', '--save_images']
    first = sample(*options)
    loaded.clear()
    again = sample(*options)
    assert not loaded and again[-4:] == first[-4:] and DRAWN_BEFORE in again
    os.remove(first[-4].split()[-1])
    assert DRAWN_BEFORE not in sample(*options) and len(loaded) == 1
    os.remove(next(pathlib.Path(first[-2].split()[-1]).iterdir()))
    sample(*options)
    sample(*options, '--seed=5')
    assert len(loaded) == 3


def test_pictures_of_two_runs_lie_side_by_side(sample, small_run, tmp_path):
    """The runs differ in the files of their checkpoints alone, which have the same step."""
    other = shutil.copytree(small_run, tmp_path / 'other')
    set_options(other, log_every=5)
    options = [f'--output_dir={tmp_path}/out', '--save_images']
    sample(*options)
    before = {path: path.read_bytes() for path in (tmp_path / 'out').rglob('*.png')}
    assert len(before) == 6
    sample(*options, f'--workdir={other}')
    after = {path: path.read_bytes() for path in (tmp_path / 'out').rglob('*.png')}
    assert len(after) == 12 and before.items() <= after.items()
    assert DRAWN_BEFORE in sample(*options) and DRAWN_BEFORE in sample(*options, f'--workdir={other}')


def test_a_set_of_other_weights_is_not_taken_for_finished(sample, small_run, tmp_path, monkeypatch):
    """The directory of single images has the name of the former set, and nothing of it stays."""
    options = [f'--workdir={shutil.copytree(small_run, tmp_path / "w")}', '--save_images']
    lines = sample(*options)
    path = sorted(pathlib.Path(lines[-2].split()[-1]).iterdir())[0]
    Image.fromarray(np.zeros([8, 8], np.uint8)).save(path)
    plain = checkpoint.fingerprint
    monkeypatch.setattr(checkpoint, 'fingerprint', lambda *arguments: plain(*arguments)[::-1])
    assert DRAWN_BEFORE not in sample(*options)
    drawn = np.concatenate(list(samples.read(lines[-1].split()[-1], SHAPE)))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), drawn[0, ..., 0])


def test_pictures_of_other_weights_do_not_stay(sample, small_run, tmp_path, monkeypatch):
    """A set that was drawn again without single images has none, so a third call writes them."""
    run = f'--workdir={shutil.copytree(small_run, tmp_path / "w")}'
    path = sorted(pathlib.Path(sample(run, '--save_images')[-2].split()[-1]).iterdir())[0]
    path.write_bytes(b'of a former model')
    plain = checkpoint.fingerprint
    monkeypatch.setattr(checkpoint, 'fingerprint', lambda *arguments: plain(*arguments)[::-1])
    sample(run)
    assert not path.exists()
    assert DRAWN_BEFORE not in sample(run, '--save_images')
    assert np.asarray(Image.open(path)).shape == (8, 8)


def test_an_exported_model_is_read_where_it_lies(capsys, tmp_path, monkeypatch):
    """No workdir is made where the samples go elsewhere."""
    monkeypatch.chdir(tmp_path)
    options = ['--mode=sample', '--model=toy_checkerboard', '--num_samples=1', f'--output_dir={tmp_path}/out']
    code, _, err = call(capsys, *options)
    assert code == 0, err
    assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_points_are_no_pictures(capsys, tmp_path):
    options = ['--mode=sample', '--model=toy_checkerboard', f'--workdir={tmp_path}/w', '--save_images']
    assert '--save_images needs images' in refused(capsys, *options)
