"""Checkpoints of the authors' code that are of another network, contradict the flags or are
damaged: refused by name."""

import dataclasses
import functools
import re
import shutil

import numpy as np
import pytest
from helpers.authors_format import Architecture, variables, write
from helpers.hostile import damaged, tries
from helpers.parity import FIXTURE
from helpers.tiny import refused
from hypothesis import given
from hypothesis import strategies as st

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.core.networks.energy import EnergyNetwork
from drl_tf.runs import authors_weights

OFFICIAL = FIXTURE / 'ckpt-iter12345'
SMALL = Architecture(mult=(1, 2))


def without(name):
    return lambda weights: weights.pop(name)


def renamed(name, other):
    return lambda weights: weights.update({other: weights.pop(name)})


def reshaped(name, *shape):
    return lambda weights: weights.update({name: np.ones(shape, np.float32)})


def changed(name, value):
    return lambda weights: weights.update({name: np.full_like(weights[name], value)})


@pytest.mark.parametrize(('change', 'message'), [
    (without('conv2d_in/conv/w'), 'lacks model_ema/net/conv2d_in/conv/w'),
    (without('temb_dense_2/dense/b'), 'lacks model_ema/net/temb_dense_2/dense/b'),
    (without('res_levels/1/0/conv2d_1/conv/w'), 'lacks model_ema/net/res_levels/1/0/conv2d_1/conv/w'),
    (without('res_levels/0/0/conv2d_1/conv/layer/b'),
    'lacks model_ema/net/res_levels/0/0/conv2d_1/conv/layer/b'),
    (without('res_levels/0/0/conv2d_2/conv/layer/g'),
    'lacks model_ema/net/res_levels/0/0/conv2d_2/conv/layer/g'),
    (without('res_levels/1/0/conv2d_shortcut/conv/sn_u'),
    'lacks model_ema/net/res_levels/1/0/conv2d_shortcut/conv/sn_u'),
    (without('res_levels/1/0/dense/dense/w'), 'lacks model_ema/net/res_levels/1/0/dense/dense/w'),
    (renamed('res_levels/0/0/conv2d_1/conv/w', 'res_levels/0/1/conv2d_1/conv/w'),
    'lacks model_ema/net/res_levels/0/0/conv2d_1/conv/w'),
    (reshaped('resample/w', 3), 'holds model_ema/net/resample/w, which this network does not have'),
    (reshaped('downsample_s/1/conv2d/conv/w', 3, 3, 16, 16),
    'holds model_ema/net/downsample_s/1/conv2d/conv/w'),
    (reshaped('temb_dense_0/dense/w', 8, 30), r'temb_dense_0/dense/w of shape \[8, 30\], not \[8, 32\]'),
    (reshaped('conv2d_in/conv/w', 3, 3, 4, 8), 'images of 4 channels'),
    (reshaped('conv2d_in/conv/w', 27, 8), r'conv2d_in/conv has shape \[27, 8\]'),
    (reshaped('res_levels/1/0/conv2d_1/conv/w', 3, 3, 8, 12), '8,12 channels, which are not multiples of 8'),
    (changed('conv2d_in/conv/layer/b', np.nan), 'conv2d_in/conv/layer/b is not float32 and finite'),
    (lambda weights: weights.update({'conv2d_in/conv/sn_u': np.ones([1, 8])}), 'conv2d_in/conv/sn_u is not '
                                                                               'float32 and finite'),
])  # fmt: skip
def test_another_network_is_refused_by_name(tmp_path, capsys, change, message):
    weights = variables(SMALL, seed=0)
    change(weights)
    prefix = write(tmp_path / 'ckpt', {'model_ema': weights})
    where = (f'--official_checkpoint={prefix}', f'--workdir={tmp_path / "run"}', '--image_size=32')
    line = refused(capsys, '--mode=import_official', *where)
    assert str(prefix) in line and re.search(message, line), line
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(('networks', 'flags', 'message'), [
    ({'model': SMALL}, [], 'has no model_ema/net: give --official_weights=model'),
    ({'model_ema': SMALL}, ['--official_weights=model'], 'has no model/net: give '
                                                         '--official_weights=model_ema'),
    ({'generator': SMALL}, [], "not from the authors' code: it holds generator/net/conv2d_in/conv/layer/W"),
    ({'model_ema': SMALL}, ['--channels=16', '--nogain'], r'contradicts --channels=16 \(it has 8\), '
                                                          r'--gain=False \(it has True\): drop'),
    ({'model_ema': SMALL}, ['--recipe=cdrl'], r'contradicts --recipe=cdrl \(it has t6\)'),
    ({'model_ema': SMALL}, ['--image_size=33'], '--image_size=33 must'),
    ({'model_ema': SMALL}, ['--image_size=64', '--dataset=cifar10', '--num_classes=10'], '--num_classes=10'),
    ({'model_ema': SMALL}, ['--mode=import_official,train', '--restart'], 'starts a run itself: drop '
                                                                          '--restart'),
    ({'model_ema': SMALL}, ['--mode=import_official,sample', '--model=digits'], 'starts a run itself: drop '
                                                                                '--model'),
    ({'model_ema': SMALL}, ['--final_act=tanh'], '--final_act=tanh must be one of relu, swish, identity'),
    ({'model_ema': dataclasses.replace(SMALL, channels=32, norm='group')}, [], 'give --norm=group or '
                                                                               '--norm=instance'),
    ({'model_ema': dataclasses.replace(SMALL, norm='instance')}, ['--norm=batch'],
     r'contradicts --norm=batch \(it has instance\)'),
    ({'model_ema': dataclasses.replace(SMALL, attention=True)}, ['--image_size=16'],
     r'attn_s/16/0/nin_k/nin/W of shape \[16, 16\], not \[8, 8\].*is --image_size right'),
    ({'model_ema': dataclasses.replace(SMALL, attention=True)}, ['--image_size=8'],
     'holds model_ema/net/attn_s/16/0/nin_k/nin/W.*is --image_size right'),
])  # fmt: skip
def test_what_contradicts_the_checkpoint_is_refused(tmp_path, capsys, networks, flags, message):
    prefix = write(tmp_path / 'ckpt', {name: variables(arch, seed=0) for name, arch in networks.items()})
    size = [] if any(flag.startswith('--image_size') for flag in flags) else ['--image_size=32']
    where = (f'--official_checkpoint={prefix}', f'--workdir={tmp_path / "run"}')
    line = refused(capsys, '--mode=import_official', *where, *size, *flags)
    assert re.search(message, line), line
    assert not (tmp_path / 'run').exists()


def test_what_is_needed_is_asked_for(tmp_path, capsys):
    assert 'needs --official_checkpoint' in refused(capsys, '--mode=import_official', f'--workdir={tmp_path}')
    assert 'needs --workdir' in refused(capsys, '--mode=import_official', f'--official_checkpoint={OFFICIAL}')
    assert 'is for --mode=import_official' in refused(
        capsys, '--mode=sample', f'--official_checkpoint={OFFICIAL}'
    )
    line = refused(
        capsys, '--mode=import_official', f'--workdir={tmp_path}', f'--official_checkpoint={FIXTURE}'
    )
    assert f'{FIXTURE}.index does not exist' in line


@pytest.mark.parametrize('name', ['ckpt-iter12345.index', 'ckpt-iter12345.data-00000-of-00001'])
@tries(40)
@given(data=st.data())
def test_damaged_files_are_refused_or_read_as_they_were(tmp_path_factory, name, data):
    """Every tensor has a checksum; bytes of the index that say nothing may change."""
    network, sound = official_network()
    directory = tmp_path_factory.mktemp('damaged')
    for path in FIXTURE.glob('ckpt*'):
        shutil.copy(path, directory)
    content = (directory / name).read_bytes()
    (directory / name).write_bytes(data.draw(damaged(content)))
    prefix = str(directory / OFFICIAL.name)
    try:
        authors_weights.load_weights(network, prefix)
    except UserError as error:
        assert prefix in str(error) and len(str(error)) < 1000
    else:
        for mine, theirs in zip(network.get_weights(), sound, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    shutil.rmtree(directory)


@functools.cache
def official_network():
    """The network of the reference numbers, and its weights."""
    network = EnergyNetwork(config.Network(channels=8, num_res_blocks=1), (32, 32, 3))
    authors_weights.load_weights(network, str(OFFICIAL))
    return network, network.get_weights()


@pytest.mark.parametrize('name', ['ckpt-iter12345.index', 'ckpt-iter12345.data-00000-of-00001'])
def test_a_truncated_file_is_one_line(tmp_path, capsys, name):
    for path in FIXTURE.glob('ckpt*'):
        shutil.copy(path, tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-100])
    where = (f'--official_checkpoint={tmp_path / OFFICIAL.name}', f'--workdir={tmp_path / "run"}')
    assert 'is damaged, or not a TensorFlow checkpoint' in refused(capsys, '--mode=import_official', *where)
    (tmp_path / name).unlink()
    assert f'{tmp_path / OFFICIAL.name}' in refused(capsys, '--mode=import_official', *where)
    assert not (tmp_path / 'run').exists()
