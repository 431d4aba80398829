# %% [markdown]
# # Your own pictures
#
# This notebook trains a model on a folder of pictures, in two ways.
# The command line trains a new model. `EnergyModel.fit` continues one that exists.
# Without pictures of yours it draws stand-ins, so that it needs no download.

# %%
# This cell installs the package. Where it is installed already, the cell does nothing.
import importlib.util
import pathlib
import subprocess
import sys

# The package is on no index, and the project has no public address yet. In a checkout of the repository,
# nothing is to be set. Elsewhere, set this to a wheel, or to the address of a repository: 'git+https://...'
SOURCE = ''

if not all(importlib.util.find_spec(name) for name in ('drl_tf', 'tensorflow')):
    here = pathlib.Path.cwd()
    checkouts = [root for root in (here, *here.parents) if (root / 'drl_tf' / '__init__.py').exists()]
    if SOURCE:
        file = pathlib.Path(SOURCE)
        package = [f'drl_tf[serving] @ {file.resolve().as_uri() if file.exists() else SOURCE}']
    elif checkouts:
        package = ['--editable', f'{checkouts[0]}[serving]']
        sys.path.insert(0, str(checkouts[0]))  # A running kernel does not see an editable install.
    else:
        raise SystemExit('drl_tf[serving] is not installed: set SOURCE, or open the notebook in a checkout')
    subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', *package], check=True)

# %%
from drl_tf.cli.quiet import quiet_start

quiet_start()  # Imports TensorFlow without its messages.

import logging
import pathlib

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import drl_tf

logging.getLogger('tensorflow').setLevel(logging.ERROR)  # No remarks on graphs that are traced again.

# %% [markdown]
# ## A folder of pictures
#
# Put your own PNG, JPEG, GIF, BMP or WEBP files into `my_pictures`, at any depth.
# If there are none, the next cell draws stand-ins: digits, coloured blue on sand.

# %%
FOLDER = pathlib.Path('my_pictures')
FOLDER.mkdir(exist_ok=True)
KINDS = ('.png', '.jpg', '.jpeg', '.gif', '.bmp', '.webp')
digits = drl_tf.EnergyModel.from_preset('digits')
drawn = digits.generate(600, guidance=0.5)[..., 0] / 255


def pictures():
    """Returns the paths of the pictures in the folder, sorted."""
    return sorted(path for path in FOLDER.rglob('*') if path.suffix.lower() in KINDS)


def show(images, columns=12):
    """Draws images, [n, H, W, C], in rows."""
    rows = -(-len(images) // columns)
    _, axes = plt.subplots(rows, columns, figsize=(0.7 * columns, 0.7 * rows))
    for ax, image in zip(axes.flat, images, strict=False):
        ax.imshow(image, cmap='gray', vmin=0, vmax=255)
    for ax in axes.flat:
        ax.axis('off')
    plt.show()


if not pictures():
    ink, paper = np.array([20, 50, 140]), np.array([240, 225, 190])
    coloured = drawn[..., None] * ink + (1 - drawn[..., None]) * paper
    for number, picture in enumerate(coloured.astype(np.uint8)):
        Image.fromarray(picture).save(FOLDER / f'{number:03d}.png')
show([np.asarray(Image.open(path).convert('RGB')) for path in pictures()[:24]])

# %% [markdown]
# ## What will it cost?
#
# `--dry_run` prints the configuration, the number of parameters and the memory, and stops.
# Leave `--image_size` out for 32 px.


# %%
def run(*options):
    """Runs the command `drl-tf` with these options, and shows the last lines that it prints."""
    command = [sys.executable, '-m', 'drl_tf.cli', *options]
    done = subprocess.run(command, capture_output=True, text=True)
    print('\n'.join(done.stdout.splitlines()[-20:]))
    if done.returncode:
        raise SystemExit(done.stderr)


run('--dataset=folder', '--data_dir=my_pictures', '--image_size=16', '--dry_run')

# %% [markdown]
# ## Train a new model
#
# One minute shows the colours and some strokes.
# Without `--train_steps` and `--max_minutes`, the number of pictures decides how long training takes.

# %%
run(
    '--dataset=folder',
    '--data_dir=my_pictures',
    '--image_size=16',
    '--num_levels=12',
    '--train_steps=700',
    '--decay_steps=700',
    '--ema_decay=0.99',
    '--max_minutes=1',
    '--workdir=runs/mine',
)

# %%
mine = drl_tf.EnergyModel.from_preset('runs/mine')
samples = mine.generate(24)
show(samples)

# %% [markdown]
# ## Continue a model that exists
#
# `fit` starts from trained weights, and takes arrays.
# The pictures must have the size and the channels of the model: here 16 px and grey.
# These are the digits in negative, which the model never saw.

# %%
negative = (255 * (1 - drawn[..., None])).astype(np.uint8)
labels = np.arange(600) % 10
before = digits.energy(negative).mean()
history = digits.fit(negative, labels, epochs=12, learning_rate=2e-3, verbose=0)
after = digits.energy(negative).mean()
print(f'mean energy of the negatives: {before:.0f} nats before, {after:.0f} after')

# %%
show(digits.generate(20, guidance=0.5), columns=10)

# %% [markdown]
# ## Keep it
#
# A preset is a directory that `from_preset` reads again.

# %%
digits.save_to_preset('negative_digits')
again = drl_tf.EnergyModel.from_preset('negative_digits')
print('the same images:', np.array_equal(again.generate(4), digits.generate(4)))

# %% [markdown]
# ## Where to go from here
#
# `docs/own_pictures.md` has longer training, larger networks and scores.
