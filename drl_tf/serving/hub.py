"""Downloads and uploads presets: saved models on Hugging Face and Kaggle."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

from drl_tf.base import arguments
from drl_tf.base.errors import UserError, one_line
from drl_tf.serving import preset as presets

# {scheme of a URI: (Python module, form of the URI, possible numbers of parts between slashes)}
_HUBS: dict[str, tuple[str, str, tuple[int, ...]]] = {
    'hf': ('huggingface_hub', 'hf://model or hf://org/model', (1, 2)),
    'kaggle': ('kagglehub', 'kaggle://org/model/keras/variant', (4, 5)),
}


def local(preset: str) -> str:
    """Downloads a preset if it is on a hub, and returns its local directory.

    Args:
      preset: 'hf://org/model', 'kaggle://org/model/keras/variant', or any other text, which is returned as it
        is.

    Raises:
      UserError: the client of the hub is not installed, or the download failed.

    Examples:
      >>> local('digits')
      'digits'
    """
    hub = _hub('preset', preset)
    if hub is None:
        return preset
    client, handle = hub
    if preset.startswith('hf:'):
        return _reached(preset, lambda: client.snapshot_download(repo_id=handle))
    return _reached(preset, lambda: client.model_download(handle))


def upload_preset(uri: str, preset: str | os.PathLike[str]) -> None:
    """Uploads a preset to a hub; log in with the hub's own client first.

    Args:
      uri: 'hf://org/model' or 'kaggle://org/model/keras/variant'.
      preset: a directory that `EnergyModel.save_to_preset` has written.

    Raises:
      UserError: `preset` is no preset or is damaged, the hub's client is not installed, or the upload failed.

    Examples:
      >>> drl_tf.EnergyModel.from_preset('digits').save_to_preset('mine')
      >>> drl_tf.upload_preset('hf://me/mine', 'mine')  # doctest: +SKIP
    """
    directory = arguments.path('preset', preset)
    hub = _hub('uri', arguments.path('uri', uri))
    if hub is None:
        raise UserError(f'uri={uri} must be {" or ".join(form for _, form, _ in _HUBS.values())}')
    presets.verify(directory)
    client, handle = hub

    def upload() -> None:
        if uri.startswith('hf:'):
            client.create_repo(repo_id=handle, exist_ok=True)
            client.upload_folder(repo_id=handle, folder_path=directory)
        else:
            client.model_upload(handle, directory)

    _reached(uri, upload)


def _hub(name: str, uri: str) -> tuple[Any, str] | None:
    """Returns the client of a URI's hub and the URI without its scheme; None if it is no URI of a hub."""
    scheme, found, handle = uri.partition('://')
    if not found or scheme not in _HUBS:
        return None
    module, form, parts = _HUBS[scheme]
    names = handle.split('/')
    if len(names) not in parts or not all(names):
        raise UserError(f'{name}={uri} must be {form}')
    try:
        return importlib.import_module(module), handle
    except ImportError as error:
        raise UserError(f"{name}={uri} needs {module}: pip install 'drl_tf[hub]'") from error


def _reached(uri: str, call: Callable[[], Any]) -> Any:
    """Calls a hub's client; turns an error of any class into a one-line UserError."""
    try:
        return call()
    except Exception as error:
        raise UserError(
            f'{uri} could not be reached ({one_line(error)}): check the name and network'
        ) from error
