"""Reads checkpoints of the authors' TensorFlow code (object-based `tf.train.Checkpoint`) and infers the
network in them."""

import contextlib
import os
import re

import numpy as np
import tensorflow as tf

from drl_tf.base.errors import UserError, one_line
from drl_tf.config.config import Training
from drl_tf.config.option_fields import text

ORIGIN = 'official.json'  # Of a run, where its network comes from.
_VALUE, _SLOT = '/.ATTRIBUTES/VARIABLE_VALUE', '/.OPTIMIZER_SLOT/'
_BLOCK = re.compile(r'res_levels/(\d+)/(\d+)/')
_UNUSED = ('moving_mean', 'moving_variance')  # Batch normalisation takes the statistics of the batch, always.
_UNTOLD = 'group or instance'
_NO_ACT = 'lrelu'  # As the final activation: the authors' code computes it and goes on without it.
_NAMED = 5  # Variables at most that a message names of a kind.
_LAST_SIZE = 4  # Pixels at the last resolution of all of the authors' networks.
_DATASETS = {
    (32, 3): 'cifar10'
}  # By image size and channels; any other network's images are the user's to name.
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
    """The variables of one of the two networks in a checkpoint.

    Args:
      prefix: path of the checkpoint, with or without `.index`.
      weights: 'model_ema' or 'model' (the raw ones).

    Attributes:
      shapes: {name below the network, such as 'conv2d_in/conv/w': shape}.

    Raises:
      UserError: there is no such checkpoint, it is damaged, or there is no such network in it.
    """

    def __init__(self, prefix, weights='model_ema'):
        self.prefix, self.root = prefix.removesuffix('.index'), f'{weights}/net/'
        if not os.path.isfile(f'{self.prefix}.index'):
            raise UserError(
                f'--official_checkpoint={prefix}: there is no {self.prefix}.index; give the path of that file'
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

    def _no_network(self, keys, weights):
        other = 'model' if weights == 'model_ema' else 'model_ema'
        if any(key.startswith(f'{other}/net/') for key in keys):
            return f'{self.prefix} has no {weights}/net: give --official_weights={other}'
        return (
            f"{self.prefix} is not of the authors' code: it holds {_listed(keys)}, nothing below "
            'model_ema/net or model/net'
        )

    def read(self, name):
        """The value of a variable, float32.

        Raises:
          UserError: it is damaged, or not finite.
        """
        with _readable(self.prefix):
            value = self.reader.get_tensor(f'{self.root}{name}{_VALUE}')
        if value.dtype != np.float32 or not np.all(np.isfinite(value)):
            raise UserError(
                f'{self.prefix}: {self.root}{name} is not float32 and finite; take another checkpoint'
            )
        return value

    def verify(self):
        """Reads all that the checkpoint holds, whatever it belongs to: each value has a checksum.

        Raises:
          UserError: something is damaged.
        """
        with _readable(self.prefix):
            for key in self.reader.get_variable_to_shape_map():
                self.reader.get_tensor(key)

    def iteration(self):
        """The authors' counter of training iterations; None where there is none."""
        key = f'i_iter_var{_VALUE}'
        if not self.reader.has_tensor(key):
            return None
        with _readable(self.prefix):
            return int(self.reader.get_tensor(key))

    def kernel_shape(self, path):
        """Shape of the kernel of a convolution, [3, 3, in, out]."""
        shape = self.shapes.get(f'{path}/w') or self.shapes.get(f'{path}/W')
        if shape is None:
            raise UserError(f'{self.prefix} lacks {self.root}{path}/w (or W)')
        if len(shape) != 4 or 0 in shape:
            raise UserError(
                f'{self.prefix}: the kernel of {self.root}{path} has shape {list(shape)}, not [3, 3, in, out]'
            )
        return shape

    def compare(self, expected):
        """Holds names and shapes against those that a network has, {name: shape}.

        Raises:
          UserError: they differ; the message names the variables.
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
            problems.append(f'holds {_listed(self.root + name for name in spare)}, which no such network has')
        if other:
            problems.append(f'holds {_listed(other)}')
        if problems:
            hint = (
                ' (is --image_size right? Attention is at 16 px)'
                if 'attn_s/' in ' '.join([*missing, *spare, *other])
                else ''
            )
            raise UserError(f'{self.prefix} {", ".join(problems)}{hint}')


@contextlib.contextmanager
def _readable(prefix):
    """Has what TensorFlow's reader raises name the checkpoint, in a `UserError`."""
    try:
        yield
    except (tf.errors.OpError, ValueError, TypeError, IndexError, RuntimeError, OSError) as error:
        raise UserError(
            f'{prefix} is damaged, or no checkpoint of TensorFlow ({one_line(error)}): fetch it again'
        ) from error


def _is_left_over(name, names):
    """Whether a variable is the normalised copy that is beside a raw kernel, 'layer/W' beside 'w'."""
    return name.endswith('/layer/W') and name.removesuffix('layer/W') + 'w' in names


def _listed(names):
    """The first few of some names, and how many there are."""
    names = sorted(names)
    return ', '.join(names[:_NAMED]) + (f' and {len(names) - _NAMED} more' if len(names) > _NAMED else '')


def infer(variables):
    """The architecture of a network, as far as its variables tell.

    Args:
      variables: a `Variables`.

    Returns:
      {name of an option: value}; 'norm' may be 'group or instance', and 'conv_shortcut' is left out where no
      block changes the number of channels.

    Raises:
      UserError: a kernel that tells is missing, or the channels are no multiples.
    """
    names, prefix = variables.shapes, variables.prefix
    _, _, image_channels, channels = variables.kernel_shape('conv2d_in/conv')
    if image_channels not in (1, 3):
        raise UserError(f'{prefix} has a network for images of {image_channels} channels, not of 1 or 3')
    blocks = [tuple(map(int, match.groups())) for match in map(_BLOCK.match, names) if match] or [(0, 0)]
    levels, num_res_blocks = (1 + max(indices) for indices in zip(*blocks, strict=True))
    widths = [variables.kernel_shape(f'res_levels/{level}/0/conv2d_1/conv')[-1] for level in range(levels)]
    if any(width % channels for width in widths):
        raise UserError(
            f'{prefix} has resolutions of {text(tuple(widths))} channels, which are no multiples of '
            f'{channels}'
        )
    shortcuts = {kind: any(f'/{kind}_shortcut/' in name for name in names) for kind in ('conv2d', 'nin')}
    return {
        'image_channels': image_channels,
        'channels': channels,
        'channel_mult': tuple(width // channels for width in widths),
        'num_res_blocks': num_res_blocks,
        'attention': any(name.startswith('attn_s/') for name in names),
        'norm': _norm(names, channels),
        'conv_downsample': any(name.startswith('downsample_s/') for name in names),
        **({'conv_shortcut': shortcuts['conv2d']} if any(shortcuts.values()) else {}),
        'gain': any(re.search(r'/conv2d_2/conv/(layer/)?g$', name) for name in names),
        'spectral_norm': any(name.endswith('/sn_u') for name in names),
    }


def _norm(names, channels):
    of_norm = [name for name in names if re.search(r'/normalize(_[12])?/norm/', name)]
    if not of_norm:
        return 'none'
    if any(name.endswith(_UNUSED) for name in of_norm):
        return 'batch'
    return 'instance' if channels % 32 else _UNTOLD


def options(prefix, weights, given):
    """The options of a run with the network of a checkpoint, but for those that the user gave and that are
    theirs to choose.

    Args:
      prefix: path of the checkpoint, with or without `.index`.
      weights: 'model_ema' or 'model' (the raw ones).
      given: {name: value}, options that the user gave.

    Returns:
      {name: value}: what the variables tell, what the authors' code has always, and defaults: an image size
      with 4 px at the last resolution, as in all of the authors' networks, a dataset, float32, and no
      dataset's own bound of the loss.

    Raises:
      UserError: the checkpoint cannot be read, what was given contradicts it, or what it does not tell was
        not given.
    """
    variables = Variables(prefix, weights)
    found = {**_FIXED, **infer(variables)}
    if found['norm'] == _UNTOLD:
        if given.get('norm') not in ('group', 'instance'):
            raise UserError(
                f'{variables.prefix} has {_UNTOLD} normalisation, whose variables are alike: give '
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
            f'the network in {variables.prefix} is not of {", ".join(contrary)}: drop these flags'
        )
    size = given.get('image_size') or _LAST_SIZE * 2 ** (len(found['channel_mult']) - 1)
    found['image_size'] = size
    if given.get('final_act') == _NO_ACT:
        found['final_act'] = 'identity'
    dataset = _DATASETS.get((size, found['image_channels']), 'folder')
    defaults = {'dataset': dataset, 'precision': 'float32', 'max_loss': Training().max_loss}
    return found | {name: value for name, value in defaults.items() if name not in given}
