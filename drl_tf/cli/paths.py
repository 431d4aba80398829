"""The options of the command line that name files."""

import os
from typing import Any

from absl import flags

# Options whose value is a path on this machine.
LOCAL = (
    'workdir',
    'official_checkpoint',
    'init_from',
    'samples',
    'input',
    'background',
    'output_dir',
    'export_dir',
    'manual_dir',
    'labels_file',
    'stats_file',
    'inception',
)
# What stands before a path in the value of an option, as in npz:FILE or A,B.
_SEPARATORS = {'dataset': ':', 'ood': ':', 'degradation': ':', 'model': ','}
# All options whose value can hold a path.
PATHS = {*LOCAL, *_SEPARATORS, 'data_dir', 'extractor', 'compare', 'mask'}


def expand_home(values: flags.FlagValues) -> None:
    """Replaces ~ by the home directory where it begins a path; most shells leave it in --name=~/path.

    Args:
      values: the parsed flags, which the function changes.
    """
    for name in PATHS:
        if values[name].present:
            values[name].value = _expanded(values[name].value, _SEPARATORS.get(name))


def _expanded(value: Any, separator: str | None) -> Any:
    """Returns a path, or a list of them, with the home directory in place of ~."""
    if isinstance(value, list):
        return [_expanded(each, separator) for each in value]
    if separator and separator in value:
        return separator.join(_expanded(part, None) for part in value.split(separator, 1))
    return os.path.expanduser(value) if value == '~' or value.startswith('~/') else value
