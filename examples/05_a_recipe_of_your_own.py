# %% [markdown]
# # A recipe of your own
#
# The parts of this package work without its command line.
# This notebook makes a recipe from them: a network, a loss, a training step and a sampler.
# The data are points of the plane, so that a minute is enough.

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

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from drl_tf.core import diffusion, noise
from drl_tf.core.denoising import posterior_proposal
from drl_tf.core.diffusion import at, per_image
from drl_tf.core.langevin import value_gradient
from drl_tf.core.sampling import Sampler
from drl_tf.data import plane

# %% [markdown]
# ## The data and the noise levels
#
# A point is an image of one pixel with two channels.
# The schedule has 16 noise levels.
# `A` is the factor of the image, `S` is the standard deviation of the noise.

# %%
SEED, BATCH, STEPS = 0, 512, 1500
schedule = diffusion.karras(16)
print('sigma:', np.round(schedule.S / schedule.A, 3))

# %% [markdown]
# ## The network
#
# The energy is one number for a noisy point x and its noise level.
# A Gaussian term has the right width at every level, and a small network adds the rest.
# The activation is smooth, because training differentiates the network twice.

# %%
hidden = [keras.layers.Dense(128, 'swish') for _ in range(3)]
body = keras.Sequential([*hidden, keras.layers.Dense(1, use_bias=False)])
frequencies = np.float32(np.pi * 2.0 ** np.arange(4))


def log_density_at(index):
    """Returns log p(x) + const at noise number `index`, int32 [B]: a callable, [B, 1, 1, 2] -> [B]."""
    A, S = (per_image(values, index) for values in (schedule.A, schedule.S))

    def log_density(x):
        w = tf.reshape(x, [-1, 2]) / tf.sqrt(0.25 * A**2 + S**2)[:, None]
        waves = tf.reshape(w[:, :, None] * frequencies, [-1, 8])
        level = tf.math.log(S / A)[:, None]
        inputs = tf.concat([w, tf.sin(waves), tf.cos(waves), level], axis=1)
        return -tf.reduce_sum(w**2, axis=1) / 2 - body(inputs)[:, 0] / (2 * S / A)

    return log_density


# %% [markdown]
# ## The loss
#
# Score matching predicts the noise from the gradient of the log density.
# The usual loss squares the error. This one is pseudo-Huber: it squares small errors only.
# That is the part of the recipe which is your own.


# %%
def loss_of(x, eps, index):
    """Pseudo-Huber distance between the noise eps and -S grad log p, float32 [B]."""
    noisy = at(schedule.A, index) * x + at(schedule.S, index) * eps
    error = eps + at(schedule.S, index) * value_gradient(log_density_at(index), noisy)
    return tf.sqrt(1 + tf.reduce_sum(error**2, axis=[1, 2, 3])) - 1


# %% [markdown]
# ## The training step
#
# All randomness is a function of the seed and of the number of the step.
# So a second run gives the same weights.

# %%
optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, STEPS))


@tf.function
def train_step(x, step):
    """Takes one step of Adam and returns the mean loss."""
    seed = noise.fold(noise.root(SEED, noise.TRAINING), step)
    u = noise.uniform(noise.fold(seed, noise.LEVEL), BATCH)
    index = tf.cast(u * (schedule.num_levels + 1), tf.int32)
    eps = noise.normal(noise.fold(seed, noise.FORWARD), x.shape)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(loss_of(x, eps, index))
    optimizer.apply(tape.gradient(loss, body.trainable_variables), body.trainable_variables)
    return loss


# %%
keras.utils.set_random_seed(SEED)
body.build([None, 19])
losses = []
for step in range(STEPS):
    x = plane.points('toy_swiss_roll', SEED, batch=step, count=BATCH)
    losses.append(float(train_step(tf.constant(x), tf.constant(step))))

plt.figure(figsize=(5, 2.5))
plt.plot(np.convolve(losses, np.ones(50) / 50, 'valid'))
plt.xlabel('step')
plt.ylabel('loss, mean of 50 steps')
plt.show()

# %% [markdown]
# ## The sampler
#
# `Sampler` goes from noise to data, one level at a time.
# At each level, Tweedie's formula denoises the point, and the posterior adds noise of the next level.
# `start_at` is the place where a sampler of your own begins.


# %%
def start_at(x_next, level, seed):
    """Draws y_t given x_{t+1} from the score at x_{t+1}."""
    score = value_gradient(log_density_at(level + 1), x_next)
    eps = noise.normal(noise.fold(seed, noise.START), tf.shape(x_next))
    return posterior_proposal(schedule, score, x_next, level, eps)[0]


def density_of(level):
    """Returns F(y, t) of y = m_t x, as the chains of `Sampler` take it."""
    return lambda y: log_density_at(level)(y / at(schedule.m, level))


sampler = Sampler(schedule, density_of, start_at, steps_at=lambda level: None)

# %%
seed = noise.root(SEED, noise.SAMPLING)
x = noise.normal(noise.fold(seed, noise.PRIOR), [5000, 1, 1, 2])
states = [x]
for high, low in ((16, 6), (6, 4), (4, 2), (2, 0)):
    x, _ = sampler.descend(x, tf.constant(high), tf.constant(low), seed)
    states.append(x)

# %% [markdown]
# ## From noise to data
#
# The last picture shows points of the data, for comparison.

# %%
shown = [*states, plane.points('toy_swiss_roll', SEED, batch=STEPS, count=5000)]
titles = ['x_16', 'x_6', 'x_4', 'x_2', 'x_0', 'data']
figure, axes = plt.subplots(1, len(shown), figsize=(13, 2.4))
for ax, points, title in zip(axes, shown, titles, strict=True):
    ax.hist2d(*np.reshape(points, [-1, 2]).T, bins=70, range=[[-1.3, 1.3]] * 2)
    ax.set(title=title, xticks=[], yticks=[], aspect='equal')
plt.show()

# %% [markdown]
# ## How good are the samples?
#
# The mean distance from a sample to the nearest data point tells whether the samples lie on the roll.
# Fresh data points are the floor.

# %%
data = plane.points('toy_swiss_roll', SEED, batch=STEPS + 1, count=5000).reshape(-1, 2)


def distance(points):
    """Mean distance to the nearest data point."""
    points = np.reshape(points, [-1, 2])[:1000]
    return float(np.linalg.norm(points[:, None] - data, axis=-1).min(axis=1).mean())


for name, points in {'samples': states[-1], 'fresh data': shown[-1], 'noise': states[0]}.items():
    print(f'{name}: {distance(points):.4f}')

# %% [markdown]
# ## Where to go from here
#
# `docs/architecture.md` follows a training step and a sample through the package.
# `CONTRIBUTING.md` says how a recipe becomes a choice of `--recipe`.
