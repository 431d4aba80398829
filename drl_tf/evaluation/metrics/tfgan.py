"""Imports the evaluation functions of tensorflow-gan, although its top-level package cannot be imported."""

import functools
import importlib
import importlib.util
import os
import sys
import types
from typing import Any

from drl_tf.base.errors import UserError


@functools.cache
def evaluation() -> Any:
    """Imports and returns the module `tensorflow_gan.python.eval`.

    The code of its parent packages, such as `tensorflow_gan`, is not run, because it fails.

    Raises:
      UserError: tensorflow-gan is not installed.
    """
    spec = importlib.util.find_spec('tensorflow_gan')
    if spec is None or not spec.submodule_search_locations:
        raise UserError('the package tensorflow-gan is not installed: pip install tensorflow-gan')
    root = spec.submodule_search_locations[0]
    folders = {'tensorflow_gan': root, 'tensorflow_gan.python': os.path.join(root, 'python')}
    for name, folder in folders.items():
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [folder]
    try:
        return importlib.import_module('tensorflow_gan.python.eval')
    finally:
        for name in folders:
            del sys.modules[name]
