"""Sets of samples: an interruption costs a shard and no bit, sets are not mixed, and nothing damaged is
read."""

import json
import logging

import keras
import numpy as np
import pytest
from helpers.flips import flipped, refusals
from helpers.forks import run

from drl_tf.base.errors import UserError
from drl_tf.base.files import held
from drl_tf.config.config import Config
from drl_tf.core.build_model import build_model
from drl_tf.runs import checkpoint, drawing, samples
from drl_tf.runs.request import SampleRequest

SIZE = 8
SHAPE = (SIZE, SIZE, 1)
NAMES = [f'images-{index:05d}-of-00003.npz' for index in range(3)]


@pytest.fixture(scope='module')
def model():
    """Two levels of one step, two images at once."""
    keras.utils.set_random_seed(0)
    options = dict(
        image_size=SIZE,
        image_channels=1,
        channels=4,
        channel_mult=(1,),
        num_res_blocks=1,
        num_levels=2,
        mcmc_steps=(1,),
    )
    return build_model(Config().replace(**options, sample_batch_size=2, precision='float32'))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(samples, 'MOST_IMAGES', 4)


def draw(model, directory, num_samples=10, seed=3, **kwargs):
    """A set of ten images in three shards of 4, 4 and 2."""
    return drawing.draw(model, directory, SampleRequest(num_samples, seed, step=7, **kwargs))


def read(path, shape=SHAPE):
    return np.concatenate(list(samples.read(path, shape)))


def contents(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.name != '.lock'}


def times(directory):
    return [(directory / name).stat().st_mtime_ns for name in NAMES]


@pytest.fixture(scope='module')
def whole(model, tmp_path_factory):
    """A set that was drawn without an interruption."""
    directory = tmp_path_factory.mktemp('samples') / 'whole'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, 'MOST_IMAGES', 4)
        draw(model, directory)
    return directory


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of it, to be damaged."""
    directory = tmp_path / 'copy'
    directory.mkdir()
    for name, content in contents(whole).items():
        (directory / name).write_bytes(content)
    return directory


def test_a_set_is_what_the_model_draws(model, whole):
    assert sorted(contents(whole)) == [*NAMES, 'samples.json'] and samples.count(whole) == 10
    np.testing.assert_array_equal(
        read(whole), np.concatenate(list(drawing.batches(model, SampleRequest(10, 3))))
    )
    np.testing.assert_array_equal(samples.first_images(whole, SHAPE, 7), read(whole)[:7])
    with np.load(whole / NAMES[2]) as file:
        assert (file['first'], file['seed'], file['images'].shape) == (8, 3, (2, *SHAPE))
    settings = json.loads((whole / 'samples.json').read_text())['settings']
    assert (settings['seed'], settings['step'], settings['weights'], settings['mcmc_steps']) == (
        3,
        7,
        'ema',
        [1],
    )


def test_the_states_of_the_first_images_come_back(model, tmp_path):
    states = draw(model, tmp_path)
    assert len(states) == 3 and states[0].shape == (2, *SHAPE)
    np.testing.assert_array_equal(
        np.clip(np.round((states[-1].numpy() + 1) * 127.5), 0, 255), read(tmp_path)[:2]
    )
    assert draw(model, tmp_path) is None


def test_an_image_can_be_drawn_alone(model, whole, tmp_path):
    draw(model, tmp_path / 'one', 1, first=6)
    draw(model, tmp_path / 'three', 3, first=5)
    assert np.abs(read(tmp_path / 'one').astype(int) - read(whole)[6:7]).max() <= 1
    assert np.abs(read(tmp_path / 'three').astype(int) - read(whole)[5:8]).max() <= 1
    assert np.abs(read(whole)[5].astype(int) - read(whole)[6]).max() > 1


@pytest.mark.parametrize('batches_before', [0, 1, 2, 3, 4])
def test_an_interrupted_set_ends_with_the_same_bits(model, whole, tmp_path, monkeypatch, batches_before):
    """Finished shards are left alone; what a kill leaves half written is in nobody's way."""
    drawn, sample = [], model.sample

    def interrupted(*args, **kwargs):
        if len(drawn) == batches_before:
            raise KeyboardInterrupt
        drawn.append(args)
        return sample(*args, **kwargs)

    monkeypatch.setattr(model, 'sample', interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw(model, tmp_path)
    finished = NAMES[: batches_before // 2]
    assert [path.name for path in sorted(tmp_path.glob('*.npz'))] == finished
    before = [(tmp_path / name).stat().st_mtime_ns for name in finished]
    (tmp_path / 'images-00002-of-00003.npz.writing').write_bytes(b'half')
    with pytest.raises(UserError, match=f'lacks {3 - len(finished)} of 3 shards'):
        read(tmp_path)
    monkeypatch.setattr(
        model, 'sample', lambda *args, **kwargs: drawn.append(args) or sample(*args, **kwargs)
    )
    drawn.clear()
    draw(model, tmp_path)
    assert contents(tmp_path) == contents(whole) and len(drawn) == 5 - 2 * len(finished)
    assert times(tmp_path)[: len(finished)] == before


def test_a_finished_set_is_not_drawn_again(model, copy, monkeypatch, capsys):
    monkeypatch.setattr(model, 'sample', None)
    before = times(copy)
    draw(model, copy)
    assert times(copy) == before and '10/10' in capsys.readouterr().err


def test_the_bar_counts_what_was_there(model, copy, capsys):
    (copy / NAMES[2]).unlink()
    draw(model, copy)
    assert '8/10' in capsys.readouterr().err


def other_seed(path):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, 'seed': 4})


DAMAGES = {
    'empty': lambda path: path.write_bytes(b''),
    'half': lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    'one byte short': lambda path: path.write_bytes(path.read_bytes()[:-1]),
    'a flipped bit': lambda path: flipped(path, 300),  # One of the images.
    'another shard': lambda path: path.write_bytes((path.parent / NAMES[0]).read_bytes()),
    'another seed': other_seed,
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_shard_is_named_and_drawn_again(model, whole, copy, caplog, damage):
    DAMAGES[damage](copy / NAMES[1])
    with pytest.raises(UserError, match=f'{NAMES[1]} is damaged'):
        read(copy)
    before = times(copy)
    with caplog.at_level(logging.WARNING):
        draw(model, copy)
    assert contents(copy) == contents(whole) and f'{NAMES[1]} is damaged' in caplog.text
    assert [now == then for now, then in zip(times(copy), before, strict=True)] == [True, False, True]


@pytest.mark.parametrize(('name', 'change'), [
    ('seed', dict(seed=4)),
    ('num_samples', dict(num_samples=9)),
    ('first', dict(first=1)),
    ('weights', dict(weights='raw')),
    ('noise_scale', dict(noise_scale=0.5)),
    ('weights_sha256', dict(scale=2)),
])  # fmt: skip
def test_samples_of_other_settings_are_put_aside(model, whole, copy, caplog, name, change):
    """A set with other settings takes the place of the former one, which moves aside unchanged."""
    former, kernel = model.config, model.ema_network.conv_in.kernel
    if scale := change.pop('scale', None):
        kernel.assign(kernel * scale)
    if noise_scale := change.pop('noise_scale', None):
        model.config = former.replace(noise_scale=noise_scale)
    try:
        draw(model, copy, **change)
    finally:
        model.config = former
        kernel.assign(kernel / (scale or 1))
    assert name in caplog.text and f'{copy}.1' in caplog.text
    assert contents(copy.parent / 'copy.1') == contents(whole)
    assert samples.count(copy) == change.get('num_samples', 10)


def test_a_set_whose_description_is_damaged_is_put_aside(model, whole, copy, caplog):
    (copy / 'samples.json').write_text('{"settings": {')
    with pytest.raises(UserError, match=r'samples\.json is missing or damaged'):
        read(copy)
    draw(model, copy)
    assert 'without a sound samples.json' in caplog.text and contents(copy) == contents(whole)
    assert len(contents(copy.parent / 'copy.1')) == 4


def test_another_batch_size_goes_on_with_the_same_shards(model, whole, copy):
    (copy / NAMES[0]).unlink()
    former = model.config
    model.config = former.replace(sample_batch_size=3)
    try:
        draw(model, copy)
    finally:
        model.config = former
    assert sorted(contents(copy)) == sorted(contents(whole))
    assert np.abs(read(copy).astype(int) - read(whole)).max() <= 1


def test_one_process_draws_in_a_directory(model, tmp_path):
    with held(tmp_path), pytest.raises(UserError, match='in use by another run'):
        draw(model, tmp_path)


TWO_REPLICAS = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices('CPU')[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from drl_tf.config import config
from drl_tf.runs import checkpoint, drawing
from drl_tf.runs.request import SampleRequest
strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
with strategy.scope():
    options = config.load(sys.argv[1]).replace(sample_batch_size=7)
    model, step = checkpoint.load_model(sys.argv[1], options)
assert model.distribute_strategy.num_replicas_in_sync == 2
drawing.draw(model, sys.argv[2], SampleRequest(13, 5, step=step))
"""


@pytest.mark.slow
def test_two_replicas_draw_the_images_of_one(tiny_run, tmp_path):
    """Seven at once are four on each; thirteen images divide by neither. One device then finds the set
    finished."""
    done = run('-c', TWO_REPLICAS, tiny_run, tmp_path / 'two')
    assert done.returncode == 0, done.stderr
    model, step = checkpoint.load_model(tiny_run)
    draw_one = list(drawing.batches(model, SampleRequest(13, 5)))
    two = read(tmp_path / 'two', model.config.image_shape)
    assert two.shape[0] == 13 and np.abs(two.astype(int) - np.concatenate(draw_one)).max() <= 1
    model.sample = None
    drawing.draw(model, tmp_path / 'two', SampleRequest(13, 5, step=step))


def test_a_set_of_another_image_size(whole):
    with pytest.raises(UserError, match=r'images of \[8, 8, 1\], not \[4, 4, 3\]'):
        read(whole, (4, 4, 3))


def test_no_flipped_bit_of_a_shard_gives_other_images(whole, copy):
    """Wherever it is in the file, the images are the same or the shard is refused."""
    images = read(whole)
    assert refusals(copy / NAMES[2], 5, lambda: read(copy), images) > 10
    np.testing.assert_array_equal(read(copy), images)
