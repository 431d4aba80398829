"""Makes the golden files of `golden/<recipe>/`: a small run, its SavedModel, and the numbers that every later
version must get of them.

    PYTHONPATH=tests python -m helpers.golden RECIPE

To be run again only where a release gives up reading what earlier ones wrote.
"""

import json
import pathlib
import shutil
import sys

import numpy as np
import tensorflow as tf

from drl_tf.cli.main import main as command_line
from helpers.tiny import TINY

DIRECTORY = pathlib.Path(__file__).parent.parent / 'golden'
# Kinds of preconditioned energies: with every loss of heights, and with a UNet.
_KINDS = {
    'heights': (
        '--time_score=0.05', '--level_classification=0.05', '--recovery_nce=0.1', '--recovery_off_data=0.1',
        '--num_classes=0',
    ),
    'unet': ('--network=unet',),
}  # fmt: skip
RECIPES = ('t6', 'cdrl', 't1k', 'preconditioned', *_KINDS)
STEPS = 4
_REQUESTS = {
    'energy': ('images', 'level'),
    'denoise': ('images', 'level', 'seed'),
    'sample': ('seed', 'num_samples'),
}
_OF_CLASSES = {
    'energy_class': ('images', 'level', 'labels', 'guidance'),
    'sample_class': ('seed', 'labels', 'guidance'),
}
_OF_HEIGHTS = {'log_likelihood': ('images',), 'score': ('images',)}


def copied(recipe, workdir):
    """Copies the small run of a recipe to `workdir`, without its SavedModel; returns `workdir`."""
    return shutil.copytree(DIRECTORY / recipe, workdir, ignore=shutil.ignore_patterns('saved_model'))


def train(recipe, workdir, steps):
    """Trains the small run up to a step; its next command, with more steps, goes on from there."""
    of_kind = _KINDS.get(recipe, ())
    recipe = 'preconditioned' if recipe in _KINDS else recipe
    classes = 10 if recipe in ('cdrl', 'preconditioned') else 0
    mcmc_steps = 2 if recipe in ('t6', 'cdrl') else 0
    decay_steps = 8000 if recipe == 'preconditioned' else 0  # As in the stored run.
    options = [
        *TINY, f'--recipe={recipe}', '--image_size=8', f'--num_classes={classes}', '--num_levels=2',
        f'--mcmc_steps={mcmc_steps}', f'--decay_steps={decay_steps}', '--initializer_channels=8',
        '--initializer_mult=1', '--noinitializer_attention', '--max_loss=1000',
        '--log_every=1', '--checkpoint_every=100', *of_kind,
    ]  # fmt: skip
    return command_line(['run.py', *options, f'--train_steps={steps}', f'--workdir={workdir}'])


def requests():
    """Inputs of the signatures, by name."""
    images = np.random.default_rng(0).normal(size=[4, 8, 8, 1]).astype(np.float32)
    level, labels = np.int32([0, 1, 1, 0]), np.int32([7, -1, 0, 3])
    return dict(
        images=images,
        level=level,
        labels=labels,
        seed=np.int32([5, 6]),
        num_samples=np.int32(3),
        guidance=np.float32(0.5),
    )


def answers(signatures):
    """{'<signature> <output>': array} of the requests; the samples as float32, since they are uint8."""
    inputs, found, asked = requests(), {}, dict(_REQUESTS)
    asked |= _OF_CLASSES if 'sample_class' in signatures else {}
    asked |= _OF_HEIGHTS if 'log_likelihood' in signatures else {}
    for name, keys in asked.items():
        outputs = signatures[name](**{key: tf.constant(inputs[key]) for key in keys})
        found |= {f'{name} {output}': value.numpy().astype(np.float32) for output, value in outputs.items()}
    return found


def losses(workdir):
    """The loss and gradient norm of every step of the log, float64 [steps, 2]."""
    lines = map(json.loads, (workdir / 'metrics.jsonl').read_text().splitlines())
    return np.array([[line['loss'], line['gradient_norm']] for line in lines])


def main(recipe):
    directory, goes_on = DIRECTORY / recipe, DIRECTORY / f'{recipe}.goes_on'
    shutil.rmtree(directory, ignore_errors=True)
    code = train(recipe, directory, STEPS)
    modes = 'likelihood,export' if recipe == 'heights' else 'export'
    code |= command_line(
        ['run.py', f'--mode={modes}', f'--workdir={directory}', f'--export_dir={directory}/saved_model']
    )
    shutil.copytree(directory, goes_on)
    code |= train(recipe, goes_on, STEPS + 2)
    found = answers(tf.saved_model.load(str(directory / 'saved_model' / '1')).signatures)
    np.savez(directory / 'expected.npz', losses=losses(goes_on), **found)
    shutil.rmtree(goes_on)
    for unneeded in ('samples', 'tensorboard'):
        shutil.rmtree(directory / unneeded)
    for unneeded in ('.lock', 'report.html', 'saved_model/.lock', 'saved_model/1/README.md'):
        (directory / unneeded).unlink()
    if recipe == 'unet':
        shutil.rmtree(directory / 'saved_model')  # Its graphs take 15 MB.
    return code


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
