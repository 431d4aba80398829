"""Presets on Hugging Face and Kaggle: stand-ins for the hubs, and what the real clients take and say."""

import inspect
import shutil
import sys
import types

import pytest
from helpers import golden
from helpers.presets import same_weights

import drl_tf
from drl_tf.base.errors import UserError


def stand_in(root):
    """Modules with the calls of huggingface_hub and kagglehub that are used; the hub is a directory."""

    def upload(handle, directory):
        shutil.copytree(directory, root / handle, dirs_exist_ok=True)

    hugging_face = types.SimpleNamespace(
        create_repo=lambda repo_id, exist_ok: (root / repo_id).mkdir(parents=True, exist_ok=exist_ok),
        upload_folder=lambda repo_id, folder_path: upload(repo_id, folder_path),
        snapshot_download=lambda repo_id: str(next((root / repo_id).parent.glob((root / repo_id).name))),
    )
    kaggle = types.SimpleNamespace(
        model_upload=upload, model_download=lambda handle: str(next(root.glob(handle)))
    )
    return {'huggingface_hub': hugging_face, 'kagglehub': kaggle}


@pytest.mark.parametrize('uri', ['hf://me/small', 'kaggle://me/small/keras/base'])
def test_a_hub_gives_what_it_got(model, preset, tmp_path, monkeypatch, uri):
    for name, module in stand_in(tmp_path).items():
        monkeypatch.setitem(sys.modules, name, module)
    drl_tf.upload_preset(uri, preset)
    assert same_weights(drl_tf.EnergyModel.from_preset(uri), model)
    with pytest.raises(UserError, match=f'^{uri}x could not be reached .StopIteration'):
        drl_tf.EnergyModel.from_preset(f'{uri}x')


def test_hubs_that_cannot_be_used(preset, tmp_path, monkeypatch):
    for name in ('huggingface_hub', 'kagglehub'):
        monkeypatch.setitem(sys.modules, name, None)
    for uri in ('hf://me/small', 'kaggle://me/small/keras/base'):
        with pytest.raises(UserError, match=r"pip install 'drl_tf\[hub\]'"):
            drl_tf.EnergyModel.from_preset(uri)
    for uri in ('hf://', 'hf://a/b/c', 'kaggle://me/small', 'kaggle://me//keras/base'):
        with pytest.raises(UserError, match=f'{uri} must be '):
            drl_tf.upload_preset(uri, preset)
    with pytest.raises(UserError, match=r'^uri=me/small must be hf://'):
        drl_tf.upload_preset('me/small', preset)
    for name, module in stand_in(tmp_path).items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(UserError, match='is not a preset'):
        drl_tf.upload_preset('hf://me/small', golden.DIRECTORY / 't6')
    assert not (tmp_path / 'me').exists()


def test_an_error_of_a_hub_is_cut_to_its_cause(tmp_path, monkeypatch):
    """The first line of the message, without the number of the request."""

    def fail(**_):
        text = (
            '401 Client Error. (Request ID: Root=1-2;3)\n\nRepository Not Found for url: x.\n' + 'More. ' * 99
        )
        raise LookupError(text)

    stand_ins = stand_in(tmp_path)
    stand_ins['huggingface_hub'].snapshot_download = fail
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(UserError) as error:
        drl_tf.EnergyModel.from_preset('hf://me/none')
    assert str(error.value) == (
        'hf://me/none could not be reached (LookupError: 401 Client Error.): check the name, your login and '
        'the network'
    )


def test_kaggle_numbers_versions_itself(preset, tmp_path, monkeypatch):
    for name, module in stand_in(tmp_path).items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(UserError, match=r'^uri=kaggle://me/small/keras/base/2 must have no version'):
        drl_tf.upload_preset('kaggle://me/small/keras/base/2', preset)


def test_the_client_of_kaggle(monkeypatch):
    """Its calls and handles are those that we use; without network it ends in one line."""
    client = pytest.importorskip('kagglehub')
    for call in (client.model_upload, client.model_download):
        assert next(iter(inspect.signature(call).parameters)) == 'handle'
    inspect.signature(client.model_upload).bind('me/small/keras/base', 'directory')
    inspect.signature(client.model_download).bind('me/small/keras/base')
    from kagglehub.handle import parse_model_handle

    for handle in ('me/small/keras/base', 'me/small/keras/base/2'):
        assert str(parse_model_handle(handle)) == handle
    monkeypatch.setenv('KAGGLE_API_ENDPOINT', 'http://127.0.0.1:9')
    with pytest.raises(UserError, match=r'^kaggle://me/no_such/keras/a could not be reached \('):
        drl_tf.EnergyModel.from_preset('kaggle://me/no_such/keras/a')


def test_the_client_of_hugging_face_without_network(monkeypatch):
    """One line, from the client itself; its calls take the arguments that we give."""
    client = pytest.importorskip('huggingface_hub')
    inspect.signature(client.create_repo).bind(repo_id='a', exist_ok=True)
    inspect.signature(client.upload_folder).bind(repo_id='a', folder_path='b')
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(UserError, match=r'^hf://me/no_such_model could not be reached \('):
        drl_tf.EnergyModel.from_preset('hf://me/no_such_model')
