"""Names of files that tell what was sampled."""

from drl_tf.base.files import digest
from drl_tf.config import config as configuration
from drl_tf.config.option_fields import text

_LONGEST = 150  # A file name has 255 bytes at most, and endings such as -trajectory.png.writing follow.


def file_stem(config, workdir, request):
    """The step, the weights, how many, the seed, and what differs from the configuration of the run.

    Args:
      config: the `Config` of the sampling.
      workdir: the directory of the run.
      request: a `SampleRequest` with a step.
    """
    pairs = zip(config.options(), configuration.load(workdir).options(), strict=True)
    free = ('sampling', 'always')
    changed = [
        (field, mine)
        for (field, mine), (_, theirs) in pairs
        if mine != theirs and field.metadata['changes'] in free
    ]
    unnamed = ('seed', 'data_dir', 'manual_dir', 'sample_batch_size', 'deterministic')
    kept = [field.name + text(mine) for field, mine in changed if field.name not in unnamed]
    parts = [f'{request.step:08d}', request.weights, str(request.count), f'seed{request.seed}', *kept]
    return _short('-'.join(parts))


def _short(name):
    """A long name cut, with a hash of the whole in the place of the rest."""
    return name if len(name) <= _LONGEST else f'{name[:_LONGEST]}-{digest(name)}'


def set_name(config, workdir, request):
    """The name of a set of samples: `file_stem`, then the classes and the first image that were chosen."""
    chosen = '-'.join(map(str, request.labels))
    if request.label_weights:
        pairs = zip(request.labels, request.label_weights, strict=True)
        chosen = 'compose' + '-'.join(f'{c}' if w == 1 else f'{c}x{w:g}' for c, w in pairs)
    elif chosen:
        chosen = f'class{chosen}'
    first = f'from{request.first}' if request.first else ''
    return _short('-'.join(filter(None, (file_stem(config, workdir, request), chosen, first))))
