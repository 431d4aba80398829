"""Options: dataclass fields that know their bounds and their help text; the command line is made from
them."""

import dataclasses
import math
import typing

from drl_tf.base.errors import UserError

NAMES = {
    bool: 'switch', int: 'whole number', float: 'number', str: 'text',
    tuple[int, ...]: 'whole numbers', tuple[float, ...]: 'numbers', tuple[str, ...]: 'names',
}  # fmt: skip
_LARGEST = {int: 2**31 - 1, float: 3e38}  # What int32 and float32 hold.


def option(default, help_text, *, low=None, high=None, choices=None, changes='never'):
    """A dataclass field with what the command line and the validation need: bounds are inclusive."""
    metadata = dict(help=help_text, low=low, high=high, choices=choices, changes=changes)
    return dataclasses.field(default=default, metadata=metadata)


def text(value):
    """A value as the command line takes it."""
    return ','.join(map(str, value)) if isinstance(value, tuple) else str(value)


def kind(field):
    """What an option takes, for the help: for example 'whole number, 1 to 500; default 6'."""
    metadata, default = field.metadata, field.default
    said = NAMES[field.type]
    if metadata['choices']:
        said = ' | '.join(str(choice) for choice in metadata['choices'] if choice != '')
    low, high = metadata['low'], metadata['high']
    if low is not None:
        said += f', {low} to {high}' if high is not None else f', at least {low}'
    return f'{said}; default {text(default)}' if text(default) else said


def check(group):
    """Holds every option of a group against its type, bounds and choices."""
    for field in dataclasses.fields(group):
        _check(field, getattr(group, field.name))


def _check(field, value):
    """Holds one option against its type, bounds and choices."""
    bounds = field.metadata
    kind = typing.get_origin(field.type) or field.type
    if not _is_of(value, kind):
        raise UserError(f'--{field.name}={value} must be of type {kind.__name__}')
    if bounds['choices'] is not None and value not in bounds['choices']:
        choices = ', '.join(str(choice) for choice in bounds['choices'] if choice != '')
        raise UserError(f'--{field.name}={value} must be one of {choices}')
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
        raise UserError(f'--{field.name} must name at least one number')


def _is_of(value, kind):
    """Whether a value is of a type: whole numbers are numbers too, switches are no numbers."""
    return isinstance(value, (float, int) if kind is float else kind) and (
        kind is bool or not isinstance(value, bool)
    )


def _check_text(name, value):
    """Texts become names of files, which must be writable as UTF-8 and without NUL."""
    try:
        sound = b'\0' not in value.encode('utf-8')
    except UnicodeEncodeError:
        sound = False
    if not sound:
        raise UserError(f'--{name}={value!r} must be UTF-8 text without NUL: rename what it stands for')


def _check_number(field, value, number, largest):
    """Holds a number, alone or of several, against its bounds and what can be computed with."""
    low, high = field.metadata['low'], field.metadata['high']
    low, high = -largest if low is None else low, largest if high is None else high
    if isinstance(number, float) and not math.isfinite(number):
        raise UserError(f'--{field.name}={text(value)} must be finite')
    if number < low:
        raise UserError(f'--{field.name}={text(value)} must be at least {low}')
    if number > high:
        raise UserError(f'--{field.name}={text(value)} must be at most {high}')
