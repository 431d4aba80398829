# %% [markdown]
# # Inpainting and anomalies
#
# An energy-based model gives every image a log density.
# This notebook uses it twice: to fill in missing pixels, and to find images that do not belong to the data.
# The model of digits comes with the package, so nothing is trained here.

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

import matplotlib.pyplot as plt
import numpy as np

import drl_tf
from drl_tf.data import digits, letters

model = drl_tf.EnergyModel.from_preset('digits')
print(model.image_shape, model.num_classes, 'classes')

# %% [markdown]
# ## Held-out digits
#
# The model was trained on 4,000 digits. These are from the other 1,000.
# It works at 16 px, so the digits of 32 px are averaged over squares of 2 x 2 pixels.

# %%
images, labels = digits.load('test')
images = images[:200].reshape(-1, 16, 2, 16, 2, 1).mean(axis=(2, 4)).round().astype(np.uint8)


def show(rows, titles, width=0.8):
    """Draws each row of images, [n, 16, 16, 1], under the name of the row."""
    columns = len(rows[0])
    _, axes = plt.subplots(len(rows), columns, figsize=(width * columns + 1, width * len(rows)))
    for line, row, title in zip(np.atleast_2d(axes), rows, titles, strict=True):
        line[0].set_ylabel(title, rotation=0, ha='right', va='center')
        for ax, image in zip(line, row, strict=True):
            ax.imshow(image[..., 0], cmap='gray', vmin=0, vmax=255)
            ax.set(xticks=[], yticks=[])
    plt.show()


show([images[:10]], ['held out'])

# %% [markdown]
# ## Fill in a lower half
#
# `missing` is True where a pixel is missing.
# The pixels that are seen stay as they are. Each seed gives another answer.

# %%
missing = np.zeros([16, 16, 1], bool)
missing[8:] = True
seen = np.where(missing, 64, images[:10])
answers = [model.inpaint(images[:10], missing, seed=seed) for seed in range(3)]
show([images[:10], seen, *answers], ['original', 'seen', 'seed 0', 'seed 1', 'seed 2'])

# %% [markdown]
# ## Say which digit it is
#
# With a class, the model completes the same upper half as another digit.

# %%
upper = np.repeat(images[5:6], 10, axis=0)
as_class = model.inpaint(upper, missing, labels=np.arange(10), guidance=0.5)
show([as_class], ['upper half of a 5'])

# %% [markdown]
# ## Repair single pixels
#
# Here 60 % of the pixels are missing, at random places.

# %%
holes = np.random.default_rng(0).random([10, 16, 16, 1]) < 0.6
repaired = model.inpaint(images[:10], holes)
show([np.where(holes, 64, images[:10]), repaired, images[:10]], ['seen', 'repaired', 'original'])

# %% [markdown]
# ## Log densities
#
# `log_prob` is log p in nats. The inverted digits are far to the left of this picture.
# The letters overlap with the digits: both are light strokes on black.

# %%
others = {
    'letters': letters.draw([200, 16, 16, 1]),
    'inverted': 255 - images,
    'noisy': np.clip(images + np.random.default_rng(1).normal(0, 30, images.shape), 0, 255).astype(np.uint8),
    'shifted': np.roll(images, 5, axis=2),
    'black': np.zeros([1, 16, 16, 1], np.uint8),
}
densities = {name: model.log_prob(values) for name, values in {'held out': images, **others}.items()}

plt.figure(figsize=(7, 3))
for name, values in densities.items():
    if name not in ('black', 'inverted'):
        plt.hist(values, bins=np.linspace(-200, 450, 66), histtype='stepfilled', alpha=0.5, label=name)
plt.axvline(densities['black'][0], color='black', label='black')
plt.xlabel('log p in nats')
plt.ylabel('images')
plt.legend()
plt.show()

# %% [markdown]
# ## Typicality
#
# An image may also be too dense to be one of the data.
# So `typicality` is the distance of log p from its mean over training images, on either side,
# in standard deviations.

# %%
for name, values in {'held out': images, **others}.items():
    print(f'{name:10} {np.median(model.typicality(values)):6.1f} deviations, the median')

# %% [markdown]
# ## How well do the scores tell the sets apart?
#
# `ood` compares two sets by several scores. An AUROC of 1 separates them, 0.5 is chance.

# %%
for name in ('letters', 'inverted', 'noisy', 'shifted'):
    found = model.ood(images, others[name])
    print(f'{name:10}', {score: round(figures['auroc'], 3) for score, figures in found.items()})

# %% [markdown]
# ## Where is an image unlikely?
#
# The gradient of the log density has one value per pixel.
# It is large where a small change would make the image much likelier.
# Here each digit has a bright scratch that the map should find.

# %%
scratched = images[:8].copy()
scratched[:, 3:5, 11:15] = 200
scores = model.anomaly_scores(scratched)
figure, axes = plt.subplots(2, 8, figsize=(8, 2.2))
for column, image, values in zip(axes.T, scratched, scores.total_map, strict=True):
    column[0].imshow(image[..., 0], cmap='gray')
    column[1].imshow(values, cmap='magma')
    for ax in column:
        ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel('image', rotation=0, ha='right')
axes[1, 0].set_ylabel('map', rotation=0, ha='right')
plt.show()

# %% [markdown]
# ## Where to go from here
#
# `docs/editing.md` has super-resolution, deblurring, edits and interpolation.
# `docs/scoring.md` has the same scores on the command line, for a folder of pictures.
