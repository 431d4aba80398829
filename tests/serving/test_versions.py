"""Versions of an exported model: a polling server finds whole ones alone, and they are named last."""

import pathlib
import shutil

import pytest
from helpers import golden
from helpers.serving import export_only, inputs
from tensorflow_serving.config import model_server_config_pb2

import drl_tf
from drl_tf.base.errors import UserError
from drl_tf.serving import export
from drl_tf.tools import model_server_models
from drl_tf.tools.model_server_models import request_of

pytestmark = pytest.mark.slow


def test_a_polling_server_sees_whole_versions_alone(small_export, tmp_path):
    """What is being written is no version; a partial one fails with a message while the one before it
    answers; then a sound one."""
    base, unwarmed = tmp_path / 'digits', shutil.ignore_patterns('tf_serving_warmup_requests')
    shutil.copytree(small_export, base / '1', ignore=unwarmed)
    model = model_server_models.Model(model_server_config_pb2.ModelConfig(name='digits', base_path=str(base)))
    model.poll()
    request = request_of('energy', inputs(1, ('images', 'level')))
    first = model.find(request.model_spec).predict(request)['energy']
    shutil.copytree(small_export, base / 'writing', ignore=unwarmed)
    (base / 'writing' / 'saved_model.pb').unlink()
    model.poll()
    assert list(model.versions) == [1] and not model.failures
    shutil.copytree(small_export, base / '2', ignore=unwarmed)
    (base / '2' / 'variables' / 'variables.index').unlink()
    model.poll()
    assert list(model.versions) == [1] and 'variables' in model.failures[2]
    assert model.find(request.model_spec).predict(request)['energy'] == first
    shutil.copytree(small_export, base / '3', ignore=unwarmed)
    model.poll()
    assert list(model.versions) == [3] and model.find(request.model_spec).predict(request)['energy'] == first


def test_a_version_is_named_when_it_is_whole(tmp_path, monkeypatch):
    """At the moment of the rename everything is there and sealed; an export that fails leaves no version."""
    export_only(monkeypatch, 'energy')
    loaded, seen = drl_tf.EnergyModel.from_preset(golden.DIRECTORY / 't6'), []
    rename = export.os.replace

    def watched(source, target):
        if pathlib.Path(target).name == '1':
            seen.extend(
                sorted(
                    str(path.relative_to(source))
                    for path in pathlib.Path(source).rglob('*')
                    if path.is_file()
                )
            )
        rename(source, target)

    monkeypatch.setattr(export.os, 'replace', watched)
    path = pathlib.Path(loaded.export(str(tmp_path / 'm')))
    assert seen == sorted(str(file.relative_to(path)) for file in path.rglob('*') if file.is_file())
    assert sorted(child.name for child in path.parent.iterdir()) == ['.lock', '1']

    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(export.seal, 'seal', fail)
    with pytest.raises(UserError, match='No space left'):
        loaded.export(str(tmp_path / 'm'))
    assert sorted(child.name for child in path.parent.iterdir()) == ['.lock', '1']
