"""Networks of the authors' code become runs: they compute what they computed, and can be trained further."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from helpers.authors_format import Architecture, forward, variables, write
from helpers.parity import FIXTURE, relative_error
from helpers.tiny import call, refused

from drl_tf.cli.main import main
from drl_tf.config import config
from drl_tf.data import pipeline
from drl_tf.runs import authors_weights, checkpoint, workdirs
from drl_tf.training.optimizers import compiled_model

OFFICIAL = FIXTURE / 'ckpt-iter12345'
SMALL = Architecture(mult=(1, 2))
ARCHITECTURES = {
    'defaults': Architecture(),
    'attention': Architecture(attention=True, blocks=2),
    'attention at the last resolution': Architecture(attention=True, mult=(1, 1, 2), size=64),
    'swish, convolutional downsampling, 1x1 shortcut, no gain': Architecture(
        mult=(1, 2, 2), act='swish', final_act='swish', conv_downsample=True, conv_shortcut=False, gain=False
    ),
    'no spectral normalisation': Architecture(
        attention=True, mult=(1, 2, 2), conv_shortcut=False, conv_downsample=True, spectral_norm=False
    ),
    'batch, no final activation': Architecture(mult=(1, 2), norm='batch', attention=True, final_act='none'),
    'group': Architecture(channels=32, mult=(1, 2), norm='group', attention=True),
    'instance': Architecture(mult=(1, 2), norm='instance', attention=True),
    'instance, 32 channels': Architecture(channels=32, mult=(1,), size=16, norm='instance'),
    '64 px': Architecture(mult=(1, 2, 2, 2, 4), size=64, attention=True),
    '128 px': Architecture(channels=4, mult=(1, 2, 2, 2, 4, 4), size=128),
    '256 px': Architecture(channels=4, mult=(1, 1, 2, 2, 2, 4, 4), size=256),
}
LARGE = ('64 px', '128 px', '256 px')
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


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in ARCHITECTURES]
)
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
    assert 'does not say what it was trained on' in card and 'not trained since' in card
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
    """A checkpoint, the workdir of its import, and that of the run that was trained six steps further."""
    root = tmp_path_factory.mktemp('further')
    prefix = write(root / 'ckpt', {'model_ema': variables(SMALL, seed=0), 'model': variables(SMALL, seed=1)})
    official = ['--mode=import_official', f'--official_checkpoint={prefix}', f'--workdir={root / "run"}']
    assert main(['run.py', *official, *LEARN]) == 0
    shutil.copytree(root / 'run', root / 'further')
    assert main(['run.py', f'--workdir={root / "further"}', '--train_steps=6']) == 0
    return prefix, root


def losses_of(workdir):
    return np.array(
        [json.loads(line)['loss'] for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    )


def test_further_training_starts_at_its_level(further):
    """The first loss is that of the imported network, and the next ones are those of the same network with a
    minute learning rate."""
    prefix, root = further
    trained = losses_of(root / 'further')
    model = compiled_model(config.load(root / 'run').replace(learning_rate=1e-8))
    authors_weights.load_weights(model.network, prefix)
    data = pipeline.training_images(model.config.data, 8, model.config.training.seed)
    still = model.fit(data, steps_per_epoch=1, epochs=6, shuffle=False, verbose=0).history['loss']
    assert trained[0] == pytest.approx(still[0], rel=1e-5)
    assert len(trained) == len(still) == 6 and np.any(trained != still)
    assert np.abs(trained - still).max() < 0.03 * np.abs(still).max()


def test_the_workdir_alone_says_what_is_trained_further(further, capsys):
    _, root = further
    assert workdirs.steps(root / 'further') == [0, 6]
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


def test_a_run_of_the_package_is_no_such_checkpoint(further, tmp_path, capsys):
    state = checkpoint.find(further[1] / 'run', 0) + '/state'
    line = refused(
        capsys, '--mode=import_official', f'--workdir={tmp_path / "run"}', f'--official_checkpoint={state}'
    )
    assert f"{state} is not from the authors' code: it holds adam/" in line


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
