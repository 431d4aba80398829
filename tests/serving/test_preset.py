"""Presets and `.keras` files: what is loaded, in a process of its own too, gives equal bytes."""

import ctypes
import json
import os
import pathlib
import shutil
import types
import zipfile

import keras
import numpy as np
import pytest
import yaml
from helpers import golden, small_models
from helpers.forks import run as run_python
from helpers.presets import digest, same_weights
from helpers.serving import export_only

import drl_tf
from drl_tf.base import seal
from drl_tf.base.errors import UserError
from drl_tf.runs import beginnings
from drl_tf.serving.preset import with_precision

LOADED = """
import json, sys
import keras
from drl_tf import EnergyModel
from helpers.presets import digest
found = {}
for recipe, formats in json.loads(sys.argv[1]).items():
    for name, path in formats.items():
        if name == 'keras':
            model = keras.saving.load_model(path)
        elif name == 'weights':
            model = EnergyModel.from_preset(formats['preset'], load_weights=False)
            model.load_weights(path)
        else:
            model = EnergyModel.from_preset(path)
        found[f'{recipe} {name}'] = digest(model)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_every_format_gives_equal_bytes_in_another_process(tmp_path, monkeypatch):
    """All formats of the recipe with two networks and classes; a file of Keras of the default recipe."""
    export_only(monkeypatch, 'energy')
    formats, expected = {}, {}
    for recipe in ('cdrl', 'preconditioned'):
        model = drl_tf.EnergyModel.from_preset(golden.DIRECTORY / recipe)
        root = tmp_path / recipe
        formats[recipe] = paths = {'keras': str(root / 'model.keras')}
        root.mkdir()
        model.save(paths['keras'])
        if recipe == 'cdrl':
            paths['workdir'] = str(golden.DIRECTORY / recipe)
            paths['preset'], paths['weights'] = str(root / 'preset'), str(root / 'a.weights.h5')
            model.save_to_preset(paths['preset'])
            model.save_weights(paths['weights'])
            paths['saved_model'] = model.export(root / 'saved')
        expected |= dict.fromkeys((f'{recipe} {name}' for name in paths), digest(model))
    done = run_python('-c', f"import sys; sys.path.insert(0, 'tests'){LOADED}", json.dumps(formats))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == expected


@pytest.mark.slow
def test_a_keras_file_gives_the_model_again(model, tmp_path):
    """With its step; also after more training, whose optimizer is not a part of the model."""
    model.save(tmp_path / 'm.keras')
    again = keras.saving.load_model(tmp_path / 'm.keras')
    assert same_weights(again, model)
    assert (again.step, again.num_classes) == (golden.STEPS, 10)
    again.fit(np.zeros([8, 8, 8, 1], np.uint8), np.arange(8), batch_size=8, verbose=0)
    again.save(tmp_path / 'n.keras')
    fitted = keras.saving.load_model(tmp_path / 'n.keras')
    assert same_weights(fitted, again) and not same_weights(again, model)
    assert fitted.step == golden.STEPS + 1


def test_the_files_are_those_of_keras_hub(model, preset):
    assert {path.name for path in preset.iterdir()} == {
        'config.json', 'model.weights.h5', 'metadata.json', 'README.md', 'train.flags', seal.MANIFEST
    }  # fmt: skip
    config = json.loads((preset / 'config.json').read_text())
    assert config['registered_name'] == 'drl_tf>EnergyModel' and config['class_name'] == 'EnergyModel'
    metadata = json.loads((preset / 'metadata.json').read_text())
    networks = (model.model.network, model.model.initializer)
    assert metadata['parameter_count'] == sum(network.count_params() for network in networks)
    assert metadata['keras_version'] == keras.__version__
    _, front, text = (preset / 'README.md').read_text().split('---\n', 2)
    front = yaml.safe_load(front)
    assert (front['library_name'], front['license']) == ('drl_tf', 'apache-2.0')
    assert '# small\n' in text and 'of step 4 of 4' in text and "from_preset('small')" in text


def test_a_licence_that_is_not_known_is_not_claimed(tmp_path):
    """Weights that began, one run before, with a network of the authors' code."""
    config = drl_tf.EnergyModel.from_preset(golden.DIRECTORY / 't6').config
    start = {
        'init_from': 'runs/a',
        'weights': 'ema',
        'step': 3,
        'dataset': 'digits',
        'recipe': 't6',
        'imported': True,
    }
    model = drl_tf.EnergyModel(config, beginning={**beginnings.NEW, 'start': start})
    model.save_to_preset(tmp_path / 'p')
    front = (tmp_path / 'p' / 'README.md').read_text().split('---\n', 2)[1]
    assert yaml.safe_load(front)['license'] == 'unknown'


def test_local_paths_are_not_saved(tmp_path):
    config = drl_tf.EnergyModel.from_preset(golden.DIRECTORY / 't6').config
    paths = dict(manual_dir='/home/secret', stats_file='/home/secret.npz', dataset='hf:/secret/pictures')
    model = drl_tf.EnergyModel(config.replace(**paths))
    model.save_to_preset(tmp_path / 'p')
    texts = [path.read_bytes() for path in (tmp_path / 'p').iterdir()]
    assert not any(b'secret' in text for text in texts) and 'secret' not in json.dumps(model.get_config())


def test_a_preset_is_replaced_and_its_card_may_be_edited(model, preset, tmp_path):
    directory = shutil.copytree(preset, tmp_path / 'p')
    (directory / 'README.md').write_text('mine')
    (directory / '.gitattributes').write_text('of a hub')
    assert drl_tf.EnergyModel.from_preset(directory).step == golden.STEPS
    drl_tf.EnergyModel.from_preset(golden.DIRECTORY / 't6').save_to_preset(directory)
    assert drl_tf.EnergyModel.from_preset(directory).num_classes == 0
    assert '# p\n' in (directory / 'README.md').read_text()


@pytest.mark.parametrize('exchange', [True, False])
def test_a_preset_is_replaced_whole_or_not_at_all(model, preset, tmp_path, monkeypatch, exchange):
    """An error or an interrupt at any time leaves the former preset, and nothing beside it."""
    directory = shutil.copytree(preset, tmp_path / 'p')
    (directory / '.gitattributes').write_text('of a hub')
    former = {path.name: path.read_bytes() for path in directory.iterdir()}
    other = drl_tf.EnergyModel.from_preset(golden.DIRECTORY / 't6')
    if not exchange:
        monkeypatch.setattr(ctypes, 'CDLL', lambda _: types.SimpleNamespace())

    def interrupted(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if exchange:
            patch.setattr(ctypes, 'CDLL', lambda _: types.SimpleNamespace(renameat2=interrupted))
        else:  # The second rename of three; the third one restores the former preset.
            renames = iter([os.rename, interrupted, os.rename])
            patch.setattr(os, 'rename', lambda *paths: next(renames)(*paths))
        with pytest.raises(KeyboardInterrupt):
            other.save_to_preset(directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == former
    assert [path.name for path in tmp_path.iterdir()] == ['p']
    other.save_to_preset(directory)
    assert drl_tf.EnergyModel.from_preset(directory).num_classes == 0
    assert (directory / '.gitattributes').read_text() == 'of a hub'
    assert '# p\n' in (directory / 'README.md').read_text()
    assert [path.name for path in tmp_path.iterdir()] == ['p']
    assert directory.stat().st_mode & 0o777 == preset.stat().st_mode & 0o777


def test_a_keras_file_is_a_preset_too(model, tmp_path):
    """`from_preset` loads a .keras file, also without weights and in another precision. It refuses damaged
    files and other models."""
    path = tmp_path / 'm.keras'
    model.save(path)
    again = drl_tf.EnergyModel.from_preset(path)
    assert same_weights(again, model) and again.step == golden.STEPS
    start = drl_tf.EnergyModel.from_preset(path, load_weights=False, dtype='bfloat16')
    assert start.step == 0 and start.config.training.precision == 'bfloat16'
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r'm\.keras is damaged'):
        drl_tf.EnergyModel.from_preset(path)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('config.json', '[]')
    with pytest.raises(UserError, match=r'm\.keras is damaged \(ValueError: it holds a list, not a dict\)'):
        drl_tf.EnergyModel.from_preset(path)
    keras.Sequential([keras.layers.Input([1]), keras.layers.Dense(1)]).save(path)
    with pytest.raises(UserError, match=r'm\.keras holds a Sequential, not a drl_tf\.EnergyModel'):
        drl_tf.EnergyModel.from_preset(path)


@pytest.mark.parametrize('name', ['m.h5', 'm.hdf5', 'm', 'm.weights.h5', 'm.tf'])
def test_a_model_is_saved_under_a_name_of_keras_alone(model, tmp_path, name):
    """Keras itself would write an HDF5 file that it cannot load."""
    with pytest.raises(UserError, match=rf'^filepath=.*/{name} must end in \.keras'):
        model.save(tmp_path / name)
    if not name.endswith('.weights.h5'):
        with pytest.raises(UserError, match=rf'^filepath=.*/{name} must end in \.weights\.h5'):
            model.save_weights(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_summary_tells_trained_parameters_from_their_averages(model):
    lines = []
    model.summary(print_fn=lambda text, **_: lines.append(text))
    trained = sum(network.count_params() for network in (model.model.network, model.model.initializer))
    assert lines[-1].strip() == (
        f'Of these, {trained:,} are trained; the other {trained:,} are their averages, which the methods use.'
    )
    assert f'Total params: {2 * trained:,}' in ''.join(lines)


def test_a_preset_without_its_weights_is_untrained(model, preset):
    start = drl_tf.EnergyModel.from_preset(preset, load_weights=False, dtype='bfloat16')
    assert start.step == 0 and start.config.training.precision == 'bfloat16'
    assert not same_weights(start, model)


@pytest.mark.parametrize('name', ['config.json', 'model.weights.h5', 'metadata.json'])
def test_damage_is_named(preset, tmp_path, name):
    directory = shutil.copytree(preset, tmp_path / 'p')
    contents = bytearray((directory / name).read_bytes())
    contents[len(contents) // 2] ^= 1
    (directory / name).write_bytes(contents)
    with pytest.raises(UserError, match=r'p.* is damaged'):
        drl_tf.EnergyModel.from_preset(directory)
    (directory / name).unlink()
    with pytest.raises(UserError, match='p'):
        drl_tf.EnergyModel.from_preset(directory)


def test_weights_of_another_architecture_are_refused(preset, tmp_path):
    directory = shutil.copytree(preset, tmp_path / 'p')
    config = json.loads((directory / 'config.json').read_text())
    config['config']['options']['network']['channels'] = 16
    (directory / 'config.json').write_text(json.dumps(config))
    (directory / seal.MANIFEST).unlink()
    seal.seal(directory)
    with pytest.raises(UserError, match=r'model.weights.h5 does not fit its config.json'):
        drl_tf.EnergyModel.from_preset(directory)


def test_the_presets_of_the_package():
    presets = drl_tf.EnergyModel.presets
    assert set(presets) == {'digits', 'toy_checkerboard'}
    for entry in presets.values():
        assert pathlib.Path(entry['metadata']['path'], 'config.json').exists()
        assert entry['metadata']['description'].startswith('An energy-based model of `')


def test_a_directory_with_other_files_is_left_alone(model, tmp_path):
    (tmp_path / 'README.md').write_text('mine')
    with pytest.raises(UserError, match='holds other files than a preset'):
        model.save_to_preset(tmp_path)
    assert (tmp_path / 'README.md').read_text() == 'mine'


def test_other_weights_have_other_heights(tmp_path):
    """The log Z of the former weights is no longer taken for that of the new ones."""
    for name in ('load_weights', 'set_weights'):
        model = drl_tf.EnergyModel.from_preset('toy_checkerboard')
        model.save_weights(tmp_path / 'm.weights.h5')
        assert model.heights is not None
        weights = {'load_weights': tmp_path / 'm.weights.h5', 'set_weights': model.get_weights()}
        getattr(model, name)(weights[name])
        assert model.heights is None


def test_what_compares_densities_computes_in_float32():
    """bfloat16 is refused for adjusted chains, and for training with a loss of heights."""
    config = small_models.PRECONDITIONED.replace(mcmc_steps=(2,))
    with pytest.raises(
        UserError, match='dtype=bfloat16 is too coarse for the log densities that chains of mala'
    ):
        with_precision(config, 'bfloat16')
    with pytest.raises(UserError, match='precision=float16'):
        with_precision(config, 'float16')
    assert with_precision(config, 'auto').training.precision == 'float32'
    assert with_precision(small_models.PRECONDITIONED, 'bfloat16').training.precision == 'bfloat16'
    model = drl_tf.EnergyModel.from_preset('toy_checkerboard', dtype='bfloat16')
    with pytest.raises(UserError, match='fit: a loss of this model compares log densities'):
        model.fit(np.zeros([8, 1, 1, 2], np.float32), batch_size=4)


def test_weights_that_do_not_fit_leave_the_model_as_it_was(model, tmp_path):
    """A missing file, a damaged one, and one of another architecture are refused in one line."""
    other, damaged = tmp_path / 'other.weights.h5', tmp_path / 'damaged.weights.h5'
    drl_tf.EnergyModel.from_preset('toy_checkerboard').save_weights(other)
    damaged.write_bytes(other.read_bytes()[:5000])
    before = model.get_weights()
    for path in (other, damaged, tmp_path / 'none.weights.h5'):
        with pytest.raises(UserError, match=f'filepath={path} cannot be loaded') as error:
            model.load_weights(path)
        assert '\n' not in str(error.value) and len(str(error.value)) < len(str(path)) + 300
        for was, found in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(was, found)
