"""The text of --help."""

import dataclasses

from drl_tf import __version__
from drl_tf.base.errors import DivergenceError, WorkerLost
from drl_tf.cli import parsing
from drl_tf.config.option_fields import kind, title

WRONG_USE = 2
INTERRUPTED = 130
_INTRODUCTION = f"""Energy-based models of images by diffusion recovery likelihood, version {__version__}.

  python run.py --dataset=digits               train; run it again to resume
  python run.py --mode=sample --workdir=runs/digits_16_preconditioned
                                               sample from a trained run
  python run.py --mode=sample --model=digits   sample from a model that comes with the package
  python run.py --dataset=cifar10 --dry_run    show configuration and cost, and stop

--noNAME turns the switch --NAME off. --flagfile=FILE reads options from a file, one a line.
--dataset=X reads these presets if they exist: flags/recipe_<recipe>.flags, flags/X.flags,
flags/X_<image_size>.flags, flags/X_<recipe>.flags and flags/X_<image_size>_<recipe>.flags. Each overrides
those before it and the defaults shown here; the command line overrides them all. --dry_run shows the result.
Exit codes: 0 done, {WRONG_USE} wrong use or bad input, {DivergenceError.exit_code} training diverged,
{WorkerLost.exit_code} another worker of the run was lost, 128 + N ended by signal N
({INTERRUPTED} Ctrl-C, 143 SIGTERM). On a signal training saves first; the same command resumes it."""


def help_text() -> str:
    """Returns the text of --help: all options, with their types, bounds and defaults."""
    lines = [_INTRODUCTION]
    for group in parsing.option_groups():
        lines += ['', f'{title(group)}:']
        for field in dataclasses.fields(group):
            lines += [f'  --{field.name}  ({kind(field)})', f'      {field.metadata["help"]}']
    return '\n'.join(lines)
