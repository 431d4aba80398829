"""The files that `--mode=sample` writes, their place, and the files that it leaves alone."""

import os
import pathlib
import shutil

import numpy as np
import pytest
from helpers.tiny import call, refused
from PIL import Image

from drl_tf.runs import checkpoint, samples

SHAPE = (16, 16, 1)
DRAWN_BEFORE = 'all samples were drawn before'  # A line of stdout.


@pytest.fixture
def sample(capsys, tiny_run):
    """Samples four images of the tiny run; the lines of stdout."""

    def run(*arguments):
        code, out, err = call(
            capsys, '--mode=sample', f'--workdir={tiny_run}', '--num_samples=4', '--mcmc_steps=1', *arguments
        )
        assert code == 0, err
        return out.splitlines()

    return run


def test_single_images_are_those_of_the_set(sample, tiny_run, tmp_path):
    """The run is read only, where the samples go elsewhere."""
    before = sorted(tiny_run.rglob('*'))
    lines = sample(f'--output_dir={tmp_path}/out', '--save_images', '--first_sample=2')
    assert sorted(tiny_run.rglob('*')) == before
    assert sorted(path.suffix for path in (tmp_path / 'out').iterdir()) == ['', '', '.png', '.png']
    drawn = np.concatenate(list(samples.read(lines[-1].split()[-1], SHAPE)))
    files = sorted(pathlib.Path(lines[-2].split()[-1]).iterdir())
    assert [path.name for path in files] == [f'{index:06d}.png' for index in range(2, 6)]
    for path, image in zip(files, drawn, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image[..., 0])


def test_a_repeated_call_loads_no_model(sample, tmp_path, monkeypatch):
    """A repeated call loads no model. Another seed, a missing grid and a missing image make it draw."""
    options = [f'--output_dir={tmp_path}/out', '--save_images']
    first = sample(*options)
    loaded = []
    plain = checkpoint.load_model
    monkeypatch.setattr(checkpoint, 'load_model', lambda *a, **k: loaded.append(a) or plain(*a, **k))
    again = sample(*options)
    assert not loaded and again[-4:] == first[-4:] and DRAWN_BEFORE in again
    os.remove(first[-4].split()[-1])
    assert DRAWN_BEFORE not in sample(*options) and len(loaded) == 1
    os.remove(next(pathlib.Path(first[-2].split()[-1]).iterdir()))
    sample(*options)
    sample(*options, '--seed=5')
    assert len(loaded) == 3


def test_pictures_of_two_runs_lie_side_by_side(sample, tiny_run, tmp_path):
    """The runs differ in their weights alone: a copy goes on from an earlier step."""
    other = shutil.copytree(tiny_run, tmp_path / 'other')
    shutil.copytree(
        other / 'checkpoints' / '00000024', other / 'checkpoints' / '00000032', dirs_exist_ok=True
    )
    options = [f'--output_dir={tmp_path}/out', '--save_images']
    sample(*options)
    before = {path: path.read_bytes() for path in (tmp_path / 'out').rglob('*.png')}
    assert len(before) == 6
    sample(*options, f'--workdir={other}')
    after = {path: path.read_bytes() for path in (tmp_path / 'out').rglob('*.png')}
    assert len(after) == 12 and before.items() <= after.items()
    assert DRAWN_BEFORE in sample(*options) and DRAWN_BEFORE in sample(*options, f'--workdir={other}')


def test_a_set_of_other_weights_is_not_taken_for_finished(sample, tiny_run, tmp_path, monkeypatch):
    """The directory of single images has the name of the former set, and nothing of it stays."""
    options = [f'--workdir={shutil.copytree(tiny_run, tmp_path / "w")}', '--save_images']
    lines = sample(*options)
    path = sorted(pathlib.Path(lines[-2].split()[-1]).iterdir())[0]
    Image.fromarray(np.zeros([16, 16], np.uint8)).save(path)
    plain = checkpoint.fingerprint
    monkeypatch.setattr(checkpoint, 'fingerprint', lambda *arguments: plain(*arguments)[::-1])
    assert DRAWN_BEFORE not in sample(*options)
    drawn = np.concatenate(list(samples.read(lines[-1].split()[-1], SHAPE)))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), drawn[0, ..., 0])


def test_pictures_of_other_weights_do_not_stay(sample, tiny_run, tmp_path, monkeypatch):
    """A set that was drawn again without single images has none, so a third call writes them."""
    run = f'--workdir={shutil.copytree(tiny_run, tmp_path / "w")}'
    path = sorted(pathlib.Path(sample(run, '--save_images')[-2].split()[-1]).iterdir())[0]
    path.write_bytes(b'of a former model')
    plain = checkpoint.fingerprint
    monkeypatch.setattr(checkpoint, 'fingerprint', lambda *arguments: plain(*arguments)[::-1])
    sample(run)
    assert not path.exists()
    assert DRAWN_BEFORE not in sample(run, '--save_images')
    assert np.asarray(Image.open(path)).shape == (16, 16)


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
