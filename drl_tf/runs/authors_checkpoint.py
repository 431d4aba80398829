"""Reads checkpoints of the authors' TensorFlow code, and finds out the architecture of the network."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.base.errors import UserError, one_line
from drl_tf.config.config import Training
from drl_tf.config.option_fields import text

ORIGIN = 'official.json'  # File in the workdir of a run that says where the network comes from.
_VALUE = '/.ATTRIBUTES/VARIABLE_VALUE'
_SLOT = '/.OPTIMIZER_SLOT/'
_BLOCK = re.compile(r'res_levels/(\d+)/(\d+)/')
_UNUSED = ('moving_mean', 'moving_variance')  # Batch normalisation always uses the batch's statistics.
_UNTOLD = 'group or instance'
_NO_ACT = 'lrelu'  # As final activation: the authors' code computes it, then ignores the result.
_NAMED = 5  # How many variables of a kind a message names.
_LAST_SIZE = 4  # Height in pixels at the last resolution, in all networks of the authors.
_DATASETS = {(32, 3): 'cifar10'}  # By image size and channels; for other images the user names the dataset.
_FIXED = {
    'recipe': 't6',
    'schedule': 't6',
    'initializer': False,
    'num_classes': 0,
    'zero_residual': True,
    'time_act': False,
    'output_bias': True,
}


class Variables:
    """The variables of a network in a checkpoint of the authors' code.

    Args:
      prefix: path of the checkpoint's files without their suffix; the suffix `.index` is allowed.
      weights: which weights to read: 'model_ema' (moving averages) or 'model' (as trained).

    Attributes:
      shapes: {name of a variable, such as 'conv2d_in/conv/w': its shape}.

    Raises:
      UserError: the checkpoint is missing or damaged, or lacks these weights.
    """

    def __init__(self, prefix: str, weights: str = 'model_ema'):
        self.prefix = prefix.removesuffix('.index')
        self.root = f'{weights}/net/'
        if not os.path.isfile(f'{self.prefix}.index'):
            raise UserError(
                f'--official_checkpoint={prefix}: {self.prefix}.index does not exist; give the path of that '
                'file'
            )
        with _readable(self.prefix):
            self.reader = tf.train.load_checkpoint(self.prefix)
            found = self.reader.get_variable_to_shape_map()
        of_networks = {
            key.removesuffix(_VALUE): tuple(shape)
            for key, shape in found.items()
            if key.endswith(_VALUE) and _SLOT not in key
        }
        names = {
            key.removeprefix(self.root): shape
            for key, shape in of_networks.items()
            if key.startswith(self.root)
        }
        if not names:
            raise UserError(self._no_network(of_networks or found, weights))
        self.shapes = {name: shape for name, shape in names.items() if not _is_left_over(name, names)}

    def _no_network(self, keys: Collection[str], weights: str) -> str:
        """Returns the error message for a checkpoint without the network."""
        other = 'model' if weights == 'model_ema' else 'model_ema'
        if any(key.startswith(f'{other}/net/') for key in keys):
            return f'{self.prefix} has no {weights}/net: give --official_weights={other}'
        return (
            f"{self.prefix} is not from the authors' code: it holds {_listed(keys)}, and nothing below "
            'model_ema/net or model/net'
        )

    def read(self, name: str) -> np.ndarray:
        """Returns the value of a variable, float32.

        Args:
          name: name of the variable, a key of `shapes`.

        Raises:
          UserError: the value is damaged, or not finite.
        """
        with _readable(self.prefix):
            value = self.reader.get_tensor(f'{self.root}{name}{_VALUE}')
        if value.dtype != np.float32 or not np.all(np.isfinite(value)):
            raise UserError(
                f'{self.prefix}: {self.root}{name} is not float32 and finite; take another checkpoint'
            )
        return value

    def verify(self) -> None:
        """Reads the whole checkpoint, so that TensorFlow verifies all checksums.

        Raises:
          UserError: a value is damaged.
        """
        with _readable(self.prefix):
            for key in self.reader.get_variable_to_shape_map():
                self.reader.get_tensor(key)

    def iteration(self) -> int | None:
        """Returns the number of training iterations that the checkpoint records; None if it records none."""
        key = f'i_iter_var{_VALUE}'
        if not self.reader.has_tensor(key):
            return None
        with _readable(self.prefix):
            return int(self.reader.get_tensor(key))

    def kernel_shape(self, path: str) -> tuple[int, ...]:
        """Returns the kernel shape of a convolution, (3, 3, input channels, output channels).

        Args:
          path: path of the convolution in the names of the variables, such as 'conv2d_in/conv'.

        Raises:
          UserError: the kernel is missing, or has another rank.
        """
        shape = self.shapes.get(f'{path}/w') or self.shapes.get(f'{path}/W')
        if shape is None:
            raise UserError(f'{self.prefix} lacks {self.root}{path}/w (or W)')
        if len(shape) != 4 or 0 in shape:
            raise UserError(
                f'{self.prefix}: the kernel of {self.root}{path} has shape {list(shape)}, not [3, 3, in, out]'
            )
        return shape

    def compare(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Checks that the checkpoint has exactly the variables of a network.

        Moving means and variances of batch normalisation are allowed in addition; no network uses them.

        Args:
          expected: {name: shape} of the network's variables.

        Raises:
          UserError: names or shapes differ; the message names the variables.
        """
        spare = {
            name for name in self.shapes if name not in expected and name.rpartition('/')[2] not in _UNUSED
        }
        missing = expected.keys() - self.shapes.keys()
        other = [
            f'{self.root}{name} of shape {list(self.shapes[name])}, not {list(expected[name])}'
            for name in sorted(expected.keys() & self.shapes.keys())
            if self.shapes[name] != tuple(expected[name])
        ]
        problems = []
        if missing:
            problems.append(f'lacks {_listed(self.root + name for name in missing)}')
        if spare:
            names = _listed(self.root + name for name in spare)
            problems.append(f'holds {names}, which this network does not have')
        if other:
            problems.append(f'holds {_listed(other)}')
        if problems:
            concerns_attention = any('attn_s/' in text for text in (*missing, *spare, *other))
            hint = ' (is --image_size right? Attention is at 16 px)' if concerns_attention else ''
            raise UserError(f'{self.prefix} {", ".join(problems)}{hint}')


@contextlib.contextmanager
def _readable(prefix: str) -> Iterator[None]:
    """Context manager: turns errors of TensorFlow's reader into a `UserError` that names the checkpoint."""
    try:
        yield
    except (tf.errors.OpError, ValueError, TypeError, IndexError, RuntimeError, OSError) as error:
        raise UserError(
            f'{prefix} is damaged, or not a TensorFlow checkpoint ({one_line(error)}): download it again'
        ) from error


def _is_left_over(name: str, names: Collection[str]) -> bool:
    """Returns whether a variable is 'layer/W', the normalised copy of a raw kernel 'w'."""
    return name.endswith('/layer/W') and name.removesuffix('layer/W') + 'w' in names


def _listed(names: Iterable[str]) -> str:
    """Lists the first few names, and says how many more there are."""
    ordered = sorted(names)
    listed = ', '.join(ordered[:_NAMED])
    if len(ordered) > _NAMED:
        listed += f' and {len(ordered) - _NAMED} more'
    return listed


def _infer(variables: Variables) -> dict[str, Any]:
    """Finds out a network's architecture from the names and shapes of its variables.

    Args:
      variables: the variables of the network in a checkpoint.

    Returns:
      {option: value}, for options of `config.Network` such as 'channels', and for 'image_channels'. The value
      of 'norm' is 'group or instance' if the variables do not tell which.

    Raises:
      UserError: a needed kernel is missing, the images are neither grey nor colour, or the channels of a
        resolution are no multiple of the channels of the first resolution.
    """
    names = variables.shapes
    prefix = variables.prefix
    _, _, image_channels, channels = variables.kernel_shape('conv2d_in/conv')
    if image_channels not in (1, 3):
        raise UserError(f'{prefix} has a network for images of {image_channels} channels, not 1 or 3')
    matches = filter(None, map(_BLOCK.match, names))
    blocks = [tuple(map(int, match.groups())) for match in matches] or [(0, 0)]
    levels, num_res_blocks = (1 + max(indices) for indices in zip(*blocks, strict=True))
    widths = [variables.kernel_shape(f'res_levels/{level}/0/conv2d_1/conv')[-1] for level in range(levels)]
    if any(width % channels for width in widths):
        raise UserError(
            f'{prefix} has resolutions of {text(tuple(widths))} channels, which are not multiples of '
            f'{channels}'
        )
    has_conv_shortcut = any('/conv2d_shortcut/' in name for name in names)
    has_shortcut = has_conv_shortcut or any('/nin_shortcut/' in name for name in names)
    return {
        'image_channels': image_channels,
        'channels': channels,
        'channel_mult': tuple(width // channels for width in widths),
        'num_res_blocks': num_res_blocks,
        'attention': any(name.startswith('attn_s/') for name in names),
        'norm': _norm(names, channels),
        'conv_downsample': any(name.startswith('downsample_s/') for name in names),
        **({'conv_shortcut': has_conv_shortcut} if has_shortcut else {}),
        'gain': any(re.search(r'/conv2d_2/conv/(layer/)?g$', name) for name in names),
        'spectral_norm': any(name.endswith('/sn_u') for name in names),
    }


def _norm(names: Collection[str], channels: int) -> str:
    """Returns the kind of normalisation; 'group or instance' if both are possible."""
    of_norm = [name for name in names if re.search(r'/normalize(_[12])?/norm/', name)]
    if not of_norm:
        return 'none'
    if any(name.endswith(_UNUSED) for name in of_norm):
        return 'batch'
    return 'instance' if channels % 32 else _UNTOLD


def options(prefix: str, weights: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of a run that starts from a checkpoint of the authors' code.

    Args:
      prefix: path of the checkpoint's files without their suffix; the suffix `.index` is allowed.
      weights: which weights to read: 'model_ema' (moving averages) or 'model' (as trained).
      given: {option: value}, the options that the user gave.

    Returns:
      {option: value}, the options to set in addition to `given`: the architecture of the network, the fixed
      settings of the authors' code, the image size, and defaults of those among the options `dataset`,
      `precision` and `max_loss` that `given` lacks.

    Raises:
      UserError: the checkpoint cannot be read or contradicts the given options; or `given` lacks `norm`, and
        the variables do not tell group from instance normalisation.
    """
    variables = Variables(prefix, weights)
    found = {**_FIXED, **_infer(variables)}
    if found['norm'] == _UNTOLD:
        if given.get('norm') not in ('group', 'instance'):
            raise UserError(
                f'{variables.prefix} has {_UNTOLD} normalisation, which have the same variables: give '
                '--norm=group or --norm=instance'
            )
        found['norm'] = given['norm']
    contrary = [
        f'--{name}={text(given[name])} (it has {text(value)})'
        for name, value in found.items()
        if given.get(name, value) != value
    ]
    if contrary:
        raise UserError(
            f'the network in {variables.prefix} contradicts {", ".join(contrary)}: drop these flags'
        )
    size = given.get('image_size') or _LAST_SIZE * 2 ** (len(found['channel_mult']) - 1)
    found['image_size'] = size
    if given.get('final_act') == _NO_ACT:
        found['final_act'] = 'identity'
    dataset = _DATASETS.get((size, found['image_channels']), 'folder')
    defaults = {'dataset': dataset, 'precision': 'float32', 'max_loss': Training().max_loss}
    return found | {name: value for name, value in defaults.items() if name not in given}
