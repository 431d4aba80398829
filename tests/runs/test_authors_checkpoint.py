"""Networks of the authors' code become runs: they compute what they computed, can be trained further, or are
refused by name."""

import dataclasses
import functools
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from helpers.authors_format import Architecture, forward, variables, write
from helpers.hostile import damaged, tries
from helpers.parity import FIXTURE, relative_error
from helpers.tiny import call, refused
from hypothesis import given
from hypothesis import strategies as st

from drl_tf.base.errors import UserError
from drl_tf.cli.main import main
from drl_tf.config import config
from drl_tf.core.networks.energy import EnergyNetwork
from drl_tf.data import pipeline
from drl_tf.runs import authors_weights, checkpoint
from drl_tf.training.optimizers import compiled_model

OFFICIAL = FIXTURE / 'ckpt-iter12345'
SMALL = Architecture(mult=(1, 2))
ARCHITECTURES = {
    'defaults': Architecture(),
    'two blocks, one width': Architecture(mult=(1, 1), blocks=2),
    'attention': Architecture(attention=True, blocks=2),
    'attention at the last resolution': Architecture(attention=True, mult=(1, 1, 2), size=64),
    'swish': Architecture(mult=(1, 2), act='swish', final_act='swish'),
    'no final activation': Architecture(mult=(1, 2), final_act='none'),
    'convolutional downsampling': Architecture(mult=(1, 2, 2), conv_downsample=True),
    '1x1 shortcut': Architecture(mult=(1, 2), conv_shortcut=False),
    'no gain': Architecture(mult=(1, 2), gain=False),
    'no spectral normalisation': Architecture(
        attention=True, mult=(1, 2, 2), conv_shortcut=False, conv_downsample=True, spectral_norm=False
    ),
    'batch': Architecture(mult=(1, 2), norm='batch', attention=True),
    'group': Architecture(channels=32, mult=(1, 2), norm='group', attention=True),
    'instance': Architecture(mult=(1, 2), norm='instance', attention=True),
    'instance, 32 channels': Architecture(channels=32, mult=(1,), size=16, norm='instance'),
    '64 px': Architecture(mult=(1, 2, 2, 2, 4), size=64, attention=True),
    '128 px': Architecture(channels=4, mult=(1, 2, 2, 2, 4, 4), size=128),
    '256 px': Architecture(channels=4, mult=(1, 1, 2, 2, 2, 4, 4), size=256),
}
LEVEL = np.int32([0, 2, 5])


def images(size):
    return np.random.default_rng(1).normal(size=(len(LEVEL), size, size, 3)).astype(np.float32)


def flags_of(arch):
    """What the importer must be told; the image size only where it is not the authors' for so many
    resolutions."""
    act = 'lrelu' if arch.final_act == 'none' else arch.final_act
    size = [] if arch.size == 4 * 2 ** (len(arch.mult) - 1) else [f'--image_size={arch.size}']
    norm = [f'--norm={arch.norm}'] if arch.norm in ('group', 'instance') and arch.channels % 32 == 0 else []
    return [f'--act={arch.act}', f'--final_act={act}', *size, *norm]


def imported(capsys, prefix, workdir, *flags):
    """What the command line says that it imported."""
    code, out, err = call(
        capsys, '--mode=import_official', f'--official_checkpoint={prefix}', f'--workdir={workdir}', *flags
    )
    assert code == 0, err
    return out


def energies_of(model, size, weights='ema'):
    delta = tf.gather(tf.constant(model.schedule.delta, tf.float32), LEVEL)
    return model.density_at(LEVEL, weights)(tf.constant(images(size))) * delta**2


@pytest.mark.parametrize('name', ARCHITECTURES)
def test_every_architecture_computes_what_it_did(capsys, tmp_path, name):
    """From a u that has not converged, by one power iteration; the network trained further is the same."""
    arch = ARCHITECTURES[name]
    weights = variables(arch, seed=0)
    prefix = write(
        tmp_path / 'ckpt-iter5000',
        {'model_ema': weights, 'model': variables(arch, seed=1)},
        slots=name == 'defaults',
    )
    imported(capsys, prefix, tmp_path / 'run', *flags_of(arch))
    reference = forward(arch, weights, images(arch.size), LEVEL)
    model, _ = checkpoint.load_model(tmp_path / 'run')
    for which in ('ema', 'raw'):
        assert relative_error(energies_of(model, arch.size, which), reference) < 1e-4


def test_the_raw_weights_on_demand(capsys, tmp_path):
    raw = variables(SMALL, seed=1)
    prefix = write(tmp_path / 'both', {'model_ema': variables(SMALL, seed=0), 'model': raw}, iteration=70_000)
    out = imported(capsys, f'{prefix}.index', tmp_path / 'run', '--image_size=32', '--official_weights=model')
    assert 'model of' in out and 'iteration 70,000' in out
    assert (
        relative_error(
            energies_of(checkpoint.load_model(tmp_path / 'run')[0], 32),
            forward(SMALL, raw, images(32), LEVEL),
        )
        < 1e-4
    )
    assert json.loads((tmp_path / 'run' / 'official.json').read_text()) == {
        'official_checkpoint': f'{prefix}.index',
        'official_weights': 'model',
        'iteration': 70_000,
    }


def test_one_power_iteration_is_made_of_an_imported_u(further):
    """The checks of every architecture could not tell, had their u converged."""
    model, step = checkpoint.load_model(further[1] / 'run')
    before = energies_of(model, 16)
    model.ema_network.converge_u()
    assert step == 0 and relative_error(energies_of(model, 16), before) > 1e-2


@pytest.mark.slow
def test_published_numbers_through_the_exported_energy(capsys, tmp_path):
    with np.load(FIXTURE / 'expected.npz') as file:
        expected = dict(file)
    flags = (
        '--mode=import_official,sample,export',
        f'--export_dir={tmp_path / "export"}',
        '--num_samples=2',
        '--mcmc_steps=1',
    )
    imported(capsys, OFFICIAL, tmp_path / 'run', *flags)
    assert len(list((tmp_path / 'run' / 'samples').glob('*.png'))) == 2
    energy = tf.saved_model.load(str(tmp_path / 'export' / '1')).signatures['energy']
    values = energy(images=tf.constant(expected['x']), level=tf.constant(expected['t']))
    assert relative_error(values['network_output'], expected['energy']) < 1e-4
    s, cumulative = expected['sigmas'], np.sqrt(1 - np.cumprod(expected['a_s']) ** 2)
    delta_squared = 2e-4 * cumulative[:-1] / cumulative[0] * s[1:] ** 2
    card = (tmp_path / 'export' / '1' / 'README.md').read_text()
    assert "`model_ema` of `ckpt-iter12345`, which the authors' code trained for 12,345 iterations" in card
    assert 'does not say what it was trained on' in card and 'nothing was trained since' in card
    assert not [
        words for words in ('Command:', 'decay', 'batches of', '; seed', 'Time in training') if words in card
    ]
    assert relative_error(values['energy'], -expected['energy'] / delta_squared[expected['t']]) < 1e-4


LEARN = [
    '--dataset=digits',
    '--image_size=16',
    '--batch_size=8',
    '--mcmc_steps=2',
    '--log_every=1',
    '--grid_every=0',
]


@pytest.fixture(scope='module')
def further(tmp_path_factory):
    """A checkpoint, the workdir of its import, and those that were trained six steps further, as they are and
    with a minute rate."""
    root = tmp_path_factory.mktemp('further')
    prefix = write(root / 'ckpt', {'model_ema': variables(SMALL, seed=0), 'model': variables(SMALL, seed=1)})
    official_checkpoint = f'--official_checkpoint={prefix}'
    for name, flags in {'run': [], 'still': ['--learning_rate=1e-8']}.items():
        assert (
            main(
                [
                    'run.py',
                    '--mode=import_official',
                    official_checkpoint,
                    f'--workdir={root / name}',
                    *LEARN,
                    *flags,
                ]
            )
            == 0
        )
    shutil.copytree(root / 'run', root / 'further')
    for name in ('further', 'still'):
        assert main(['run.py', f'--workdir={root / name}', '--train_steps=6']) == 0
    return prefix, root


def losses_of(workdir):
    return np.array(
        [json.loads(line)['loss'] for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    )


def test_further_training_starts_at_its_level(further):
    """The first loss is that of the imported network, and the next ones are those of a network that stands
    still."""
    prefix, root = further
    trained, still = losses_of(root / 'further'), losses_of(root / 'still')
    model = compiled_model(config.load(root / 'run'))
    authors_weights.load_weights(model.network, prefix)
    data = pipeline.training_images(model.config.data, 8, model.config.training.seed)
    first = model.fit(data, steps_per_epoch=1, shuffle=False, verbose=0).history['loss'][0]
    assert trained[0] == pytest.approx(first, rel=1e-5)
    assert len(trained) == len(still) == 6 and np.any(trained != still)
    assert np.abs(trained - still).max() < 0.03 * np.abs(still).max()


def test_the_workdir_alone_says_what_is_trained_further(further, capsys):
    _, root = further
    assert checkpoint.steps(root / 'further') == [0, 6]
    begun = config.load(root / 'run')
    assert config.load(root / 'further') == begun.replace(train_steps=6)
    assert begun.training.max_loss == config.Training().max_loss and begun.training.precision == 'float32'
    assert '--channels=16 here, 8 there' in refused(capsys, f'--workdir={root / "run"}', '--channels=16')


def test_the_average_is_of_converged_u_once_training_went_on(further):
    _, root = further
    model, step = checkpoint.load_model(root / 'further')
    before = [layer.u.numpy() for layer in model.ema_network.normalised_layers()]
    model.ema_network.converge_u()
    assert step == 6
    for layer, u in zip(model.ema_network.normalised_layers(), before, strict=True):
        np.testing.assert_allclose(layer.u, u, atol=1e-4)


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
    (reshaped('resample/w', 3), 'holds model_ema/net/resample/w, which no such network has'),
    (reshaped('downsample_s/1/conv2d/conv/w', 3, 3, 16, 16),
    'holds model_ema/net/downsample_s/1/conv2d/conv/w'),
    (reshaped('temb_dense_0/dense/w', 8, 30), r'temb_dense_0/dense/w of shape \[8, 30\], not \[8, 32\]'),
    (reshaped('conv2d_in/conv/w', 3, 3, 4, 8), 'images of 4 channels'),
    (reshaped('conv2d_in/conv/w', 27, 8), r'conv2d_in/conv has shape \[27, 8\]'),
    (reshaped('res_levels/1/0/conv2d_1/conv/w', 3, 3, 8, 12), '8,12 channels, which are no multiples of 8'),
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
    ({'generator': SMALL}, [], "is not of the authors' code: it holds generator/net/conv2d_in/conv/layer/W"),
    ({'model_ema': SMALL}, ['--channels=16', '--nogain'], r'is not of --channels=16 \(it has 8\), '
                                                          r'--gain=False \(it has True\): drop'),
    ({'model_ema': SMALL}, ['--recipe=cdrl'], r'is not of --recipe=cdrl \(it has t6\)'),
    ({'model_ema': SMALL}, ['--image_size=33'], '--image_size=33 must'),
    ({'model_ema': SMALL}, ['--image_size=64', '--dataset=cifar10', '--num_classes=10'], '--num_classes=10'),
    ({'model_ema': SMALL}, ['--mode=import_official,train', '--restart'], 'begins a run itself: drop '
                                                                          '--restart'),
    ({'model_ema': SMALL}, ['--mode=import_official,sample', '--model=digits'], 'begins a run itself: drop '
                                                                                '--model'),
    ({'model_ema': SMALL}, ['--final_act=tanh'], '--final_act=tanh must be one of relu, swish, identity'),
    ({'model_ema': dataclasses.replace(SMALL, channels=32, norm='group')}, [], 'give --norm=group or '
                                                                               '--norm=instance'),
    ({'model_ema': dataclasses.replace(SMALL, norm='instance')}, ['--norm=batch'], r'not of --norm=batch '
                                                                                   r'\(it has instance\)'),
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
    assert f'there is no {FIXTURE}.index' in line


def test_a_run_of_the_package_is_no_such_checkpoint(further, tmp_path, capsys):
    state = checkpoint.find(further[1] / 'run', 0) + '/state'
    line = refused(
        capsys, '--mode=import_official', f'--workdir={tmp_path / "run"}', f'--official_checkpoint={state}'
    )
    assert f"{state} is not of the authors' code: it holds adam/" in line


def test_a_run_that_is_there_stays(further, capsys):
    prefix, root = further
    before = {path: path.read_bytes() for path in sorted((root / 'run').rglob('*')) if path.is_file()}
    line = refused(
        capsys,
        '--mode=import_official',
        f'--workdir={root / "run"}',
        f'--official_checkpoint={prefix}',
        '--image_size=16',
    )
    assert f'--workdir={root / "run"} holds a run' in line
    assert {path: path.read_bytes() for path in sorted((root / 'run').rglob('*')) if path.is_file()} == before


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
    assert 'is damaged, or no checkpoint of TensorFlow' in refused(capsys, '--mode=import_official', *where)
    (tmp_path / name).unlink()
    assert f'{tmp_path / OFFICIAL.name}' in refused(capsys, '--mode=import_official', *where)
    assert not (tmp_path / 'run').exists()
