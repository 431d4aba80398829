"""File names that describe a set of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drl_tf.base.files import digest
from drl_tf.config import chains
from drl_tf.config import config as configuration
from drl_tf.config.data_options import LOCAL_PATHS
from drl_tf.config.option_fields import text

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.runs.request import SampleRequest
_LONGEST = 150  # File names have at most 255 bytes; endings such as -trajectory.png.writing follow.


def file_stem(config: Config, workdir: str, request: SampleRequest) -> str:
    """Returns the name of files for a set of samples, without an extension, such as '00060000-ema-64-seed0'.

    The name joins the training step, the weights, the number of images, the seed, and the sampling options
    in which `config` differs from the run. A long name is cut, and ends in a hash.

    Args:
      config: the configuration to sample with.
      workdir: the run's directory.
      request: what to draw; `request.step` must not be None.
    """
    pairs = zip(config.options(), configuration.load(workdir).options(), strict=True)
    free = ('sampling', 'always')
    changed = [
        (field, mine)
        for (field, mine), (_, theirs) in pairs
        if mine != theirs and (field.metadata['changes'] in free or field.name in chains.FREE_LEVELS)
    ]
    unnamed = (*LOCAL_PATHS, 'seed', 'sample_batch_size', 'deterministic')
    kept = [field.name + text(mine) for field, mine in changed if field.name not in unnamed]
    parts = [f'{request.step:08d}', request.weights, str(request.count), f'seed{request.seed}', *kept]
    return short('-'.join(parts))


def short(name: str) -> str:
    """Cuts a name of more than 150 bytes, and appends a hash of the whole name."""
    encoded = name.encode(errors='surrogateescape')
    if len(encoded) <= _LONGEST:
        return name
    return f'{encoded[:_LONGEST].decode(errors="ignore")}-{digest(name)}'


def set_name(config: Config, workdir: str, request: SampleRequest, model: str = '') -> str:
    """Returns a directory name for a set of samples, such as '00060000-ema-64-seed0-class3-from64'.

    The name joins the training step, the weights, the number of images, the seed, the sampling options in
    which `config` differs from the run, the requested classes, if any, the index of the first image, if it
    is not 0, and a hash of `model`, if that is given. A long name is cut, and ends in a hash.

    Args:
      config: the configuration to sample with.
      workdir: the run's directory.
      request: what to draw; `request.step` must not be None.
      model: identifies the model where sets of several models may lie, such as the result of
        `checkpoint.fingerprint`; '': a place of one model only.
    """
    chosen = '-'.join(map(str, request.labels))
    if request.label_weights:
        pairs = zip(request.labels, request.label_weights, strict=True)
        chosen = 'compose' + '-'.join(f'{c}' if w == 1 else f'{c}x{w:g}' for c, w in pairs)
    elif chosen:
        chosen = f'class{chosen}'
    first = f'from{request.first}' if request.first else ''
    of_model = digest(model) if model else ''
    return short('-'.join(filter(None, (file_stem(config, workdir, request), chosen, first, of_model))))
