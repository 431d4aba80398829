"""Options: dataclass fields with bounds and a help text, which become flags of the command line."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Sequence
from typing import Any

from drl_tf.base.errors import UserError

# Names of the types of options in the help.
NAMES: dict[Any, str] = {
    bool: 'switch',
    int: 'whole number',
    float: 'number',
    str: 'text',
    tuple[int, ...]: 'whole numbers',
    tuple[float, ...]: 'numbers',
    tuple[str, ...]: 'names',
}
_LARGEST = {int: 2**31 - 1, float: 3e38}  # Largest values of int32 and float32.


def option(
    default: Any,
    help_text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] | None = None,
    changes: str = 'never',
) -> Any:
    """Returns a dataclass field for an option of the command line.

    Args:
      default: the default value.
      help_text: one or two sentences for --help.
      low: smallest allowed number, alone or in a tuple; None: no bound.
      high: largest allowed number, alone or in a tuple; None: no bound.
      choices: the allowed values; None: all.
      changes: when the user may give another value than the one stored with the run. 'never'; 'resume': when
        the same training resumes; 'sampling': in modes that use a trained model; 'always'; 'scores': always
        too, for options that change the scores of samples, but not the samples.

    Example:
      channels: int = option(128, 'Channels at the first resolution.', low=4, high=1024)
    """
    metadata = {'help': help_text, 'low': low, 'high': high, 'choices': choices, 'changes': changes}
    return dataclasses.field(default=default, metadata=metadata)


def title(group: type) -> str:
    """Returns the title of a group of options for --help and reports: the first line of its docstring.

    Args:
      group: a dataclass with options as fields, such as `config.data_options.Data`.

    Examples:
      >>> from drl_tf.config.data_options import Data
      >>> title(Data)
      'Data options: the dataset and its image size'
    """
    return (group.__doc__ or '').splitlines()[0].removesuffix('.')


def text(value: Any) -> str:
    """Formats a value of an option as on the command line; a tuple becomes '1,2,3'."""
    return ','.join(map(str, value)) if isinstance(value, tuple) else str(value)


def kind(field: dataclasses.Field[Any]) -> str:
    """Describes the allowed values of an option for --help, such as 'whole number, 1 to 500; default 6'."""
    metadata = field.metadata
    said = NAMES[field.type]
    if metadata['choices']:
        said = ' | '.join(str(choice) for choice in metadata['choices'] if choice != '')
    low, high = metadata['low'], metadata['high']
    if low is not None:
        said += f', at least {low}' if high is None else f', {low} to {high}'
    default = text(field.default)
    return f'{said}; default {default}' if default else said


def check(group: Any) -> None:
    """Checks the values of a group of options against their types, bounds and choices.

    Args:
      group: an instance of a dataclass whose fields the function `option` made.

    Raises:
      UserError: a value is not allowed; the message names the option.
    """
    for field in dataclasses.fields(group):
        _check(field, getattr(group, field.name))


def _check(field: dataclasses.Field[Any], value: Any) -> None:
    """Raises UserError if the value of an option has a wrong type, is out of bounds or not a valid choice."""
    kind: Any = typing.get_origin(field.type) or field.type
    if not _is_of(value, kind):
        raise UserError(f'--{field.name}={value} must be of type {kind.__name__}')
    choices = field.metadata['choices']
    if choices is not None and value not in choices:
        names = ', '.join(str(choice) for choice in choices if choice != '')
        raise UserError(f'--{field.name}={value} must be one of {names}')
    element = typing.get_args(field.type)[0] if kind is tuple else kind
    for part in value if kind is tuple else (value,):
        if not _is_of(part, element):
            raise UserError(
                f'--{field.name}={text(value)} must be of type {element.__name__}, comma-separated'
            )
        if element is str:
            _check_text(field.name, part)
        elif element is not bool:
            _check_number(field, value, part, _LARGEST[element])
    if kind is tuple and not value and field.default:
        raise UserError(f'--{field.name} is empty: give at least one value')


def _is_of(value: Any, kind: type) -> bool:
    """Returns whether a value has type `kind`; an int also counts as a float, a bool is never a number."""
    if kind is bool:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    return isinstance(value, (float, int) if kind is float else kind)


def _check_text(name: str, value: str) -> None:
    """Raises UserError if a text cannot be part of a file name: it is not UTF-8, or contains NUL."""
    try:
        sound = b'\0' not in value.encode('utf-8')
    except UnicodeEncodeError:
        sound = False
    if not sound:
        raise UserError(f'--{name}={value!r} must be UTF-8 text without NUL: rename the file or directory')


def _check_number(field: dataclasses.Field[Any], value: Any, number: float, largest: float) -> None:
    """Raises UserError if a number is out of bounds or not finite.

    Args:
      field: the option.
      value: the value of the option, for the message: a number or a tuple of numbers.
      number: the number to check.
      largest: largest magnitude that the type can hold.
    """
    low = field.metadata['low']
    if low is None:
        low = -largest
    high = field.metadata['high']
    if high is None:
        high = largest
    if isinstance(number, float) and not math.isfinite(number):
        raise UserError(f'--{field.name}={text(value)} must be finite')
    if number < low:
        raise UserError(f'--{field.name}={text(value)} must be at least {low}')
    if number > high:
        raise UserError(f'--{field.name}={text(value)} must be at most {high}')
