# %% [markdown]
# # The plane
#
# Points of the plane have densities that one can see.
# They can also be integrated exactly, so that every estimate has something to be compared with.
# This notebook trains a model of eight Gaussians, draws its densities, and finds their heights in three ways.

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
import os

os.environ['TF_CPP_MIN_LOG_LEVEL'] = '2'  # No remarks of TensorFlow on the types in its graphs.

from drl_tf.cli.quiet import quiet_start

quiet_start()  # Imports TensorFlow without its messages.

import itertools

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import drl_tf
from drl_tf.core import noise
from drl_tf.data import plane
from drl_tf.experiments import annealing, bridges
from drl_tf.experiments.density import quadrature
from drl_tf.experiments.heights import Heights

# %% [markdown]
# ## Train
#
# The energies are log densities at every noise level, learnt by score matching.


# %%
def run(*options):
    """Runs the command `drl-tf` with these options, and shows the last lines that it prints."""
    command = [sys.executable, '-m', 'drl_tf.cli', *options]
    done = subprocess.run(command, capture_output=True, text=True)
    print('\n'.join(done.stdout.splitlines()[-20:]))
    if done.returncode:
        raise SystemExit(done.stderr)


run(
    '--dataset=toy_8gaussians',
    '--recipe=preconditioned',
    '--num_levels=20',
    '--train_steps=1500',
    '--decay_steps=1500',
    '--ema_decay=0.99',
    '--max_minutes=1.5',
    '--workdir=runs/plane',
)
model = drl_tf.EnergyModel.from_preset('runs/plane')
inside, schedule = model.model, model.model.schedule
levels = [0, 2, 4, 6, 8, 12]  # Of 20.

# %% [markdown]
# ## Densities
#
# `quadrature` integrates exp F over the plane by the midpoint rule.
# That gives log Z, and with it the density.


# %%
def density_at(level):
    """Returns F(y, t) of the averaged weights."""
    return inside.density_at(level)


grids = {}
for t in levels:
    width = min(schedule.m[t] * schedule.S[t], 0.04)  # The grid resolves half of it.
    grids[t] = quadrature(density_at(tf.constant([t])), width)
for t in reversed(levels):
    print(f'level {t:2}: sigma {schedule.S[t] / schedule.A[t]:6.3f}, log Z {grids[t].log_z:7.3f}')

# %% [markdown]
# ## Data, samples, density
#
# Each column is a noise level, from much noise to little.
# The rows are data with noise, what the sampler draws, and the density of the model.
#
# At levels 2 and 0 the bumps of the density have the right places and shapes, but unequal weights.
# Score matching learns slopes, and no slope connects bumps that are far apart.
# The samples fall on all bumps alike: the sampler comes from levels where the bumps overlap.

# %%
fresh = plane.points('toy_8gaussians', seed=1, batch=0, count=20_000)
eps = np.random.default_rng(0).normal(size=fresh.shape)
seed = noise.root(0, noise.SAMPLING)
x, states = noise.normal(noise.fold(seed, noise.PRIOR), fresh.shape), {}
for high, low in itertools.pairwise([schedule.num_levels, *reversed(levels)]):
    bounds = tf.constant(high), tf.constant(low)
    x, _ = inside.walk_levels(x, *bounds, seed)
    states[low] = x.numpy()


def square(ax, points, edge, weights=None):
    """Draws a histogram of points, [n, 1, 1, 2]."""
    ax.hist2d(*points.reshape(-1, 2).T, bins=80, range=[[-edge, edge]] * 2, weights=weights)
    ax.set(xticks=[], yticks=[], aspect='equal')


figure, axes = plt.subplots(3, len(levels), figsize=(2 * len(levels), 6), layout='constrained')
for column, t in zip(axes.T, reversed(levels), strict=True):
    noisy = schedule.A[t] * fresh + schedule.S[t] * eps
    edge = 1.1 * np.quantile(np.abs(noisy), 0.998)
    square(column[0], noisy, edge)
    square(column[1], states[t], edge)
    grid, inside_edge = grids[t], np.abs(grids[t].side) <= edge * schedule.m[t]
    column[2].imshow(np.exp(grid.log_density[np.ix_(inside_edge, inside_edge)] - grid.log_z), origin='lower')
    column[2].set(xticks=[], yticks=[])
    column[0].set_title(f't = {t}')
for row, title in zip(axes, ('data', 'samples', 'density'), strict=True):
    row[0].set_ylabel(title)
plt.show()

# %% [markdown]
# ## Annealing
#
# Quadrature needs a grid, and no grid covers an image. Annealed importance sampling needs none.
# Chains start at normal noise and follow a path of densities down to level 0.
# Each chain carries a weight, and the mean weight is Z.

# %%
CHAINS, BRIDGES = 1000, 120
path = bridges.spaced(schedule, BRIDGES)
annealer = annealing.Annealer(path.density_of(density_at), num_leapfrog=3)
seed = noise.fold(noise.root(0, noise.LIKELIHOOD), 0)
start = bridges.sample_normal([CHAINS, *plane.IMAGE_SHAPE], noise.fold(seed, noise.PRIOR))
order = range(path.last + 1)
*_, (_, step_sizes) = annealing.pilot(annealer, order, start, 0.3, seed)

chains, annealed = {}, {}
for k, state, _ in annealing.anneal(annealer, order, annealer.begin(0, start), step_sizes, seed):
    if path.beta[k] == 1 and path.level[k] in levels:  # The density is that of a level.
        chains[int(path.level[k])] = state
        annealed[int(path.level[k])] = annealing.estimate(state.log_weight)

# %%
figure, axes = plt.subplots(1, len(levels), figsize=(2 * len(levels), 2.2), layout='constrained')
for ax, t in zip(axes, reversed(levels), strict=True):
    log_weight = chains[t].log_weight.numpy()
    edge = 1.1 * np.quantile(np.abs(chains[t].y), 0.998)
    square(ax, chains[t].y.numpy(), edge, np.exp(log_weight - log_weight.max()))
    ax.set_title(f't = {t}: {annealed[t].effective_sample_size:.0f} of {CHAINS}', fontsize=9)
figure.suptitle('chains with their weights, and the effective number of chains')
plt.show()

# %% [markdown]
# ## Heights
#
# Normalised energies offer a third way. Noisy data are samples of each level.
# Two estimates use them: an integral along the levels, and Bennett's acceptance ratio between neighbours.
# At levels 2 and 0 they are lower than the others: the data do not weigh the bumps as the model does.

# %%
points = plane.points('toy_8gaussians', seed=2, batch=0, count=4000)
measured = Heights(inside, 'ema', noise.root(0, noise.LIKELIHOOD), batch_size=65_536).measure(points)

plt.figure(figsize=(6, 3))
plt.plot(levels, [grids[t].log_z for t in levels], 'k-', label='quadrature')
plt.errorbar(
    levels,
    [annealed[t].log_mean for t in levels],
    [2 * annealed[t].standard_error for t in levels],
    fmt='o',
    label='annealing',
)
for name, marker in (('bennett', 'x'), ('integration', '+')):
    estimate = measured[name]
    plt.errorbar(levels, estimate.log_z[levels], 2 * estimate.error[levels], fmt=marker, label=name)
plt.xlabel('level t')
plt.ylabel('log Z in nats')
plt.legend()
plt.show()

for t in levels:
    print(
        f'level {t:2}: quadrature {grids[t].log_z:7.3f}, annealing {annealed[t].log_mean:7.3f}, '
        f'Bennett {measured["bennett"].log_z[t]:7.3f}, integration {measured["integration"].log_z[t]:7.3f}'
    )

# %% [markdown]
# ## Against the truth
#
# The density of eight Gaussians with noise has a closed form.
# Here is log p along the circle through their centres, at level 4.

# %%
T_SHOWN = 4
A, S = schedule.A[T_SHOWN], schedule.S[T_SHOWN]
angle = np.linspace(0, 2 * np.pi, 400)
circle = 0.7 * A * np.stack([np.cos(angle), np.sin(angle)], axis=1)
centres = 0.7 * A * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], axis=1)
variance = (0.05 * A) ** 2 + S**2
squares = np.sum((circle[:, None] - centres) ** 2, axis=-1)
truth = np.log(np.mean(np.exp(-squares / (2 * variance)), axis=1) / (2 * np.pi * variance))

y = schedule.m[T_SHOWN] * circle.reshape(-1, 1, 1, 2)
learnt = density_at(tf.constant([T_SHOWN]))(tf.constant(y, tf.float32)).numpy()
learnt += -grids[T_SHOWN].log_z + 2 * np.log(schedule.m[T_SHOWN])

plt.figure(figsize=(7, 3))
plt.plot(angle, truth, 'k', label='truth')
plt.plot(angle, learnt, '--', label='model')
plt.xlabel('angle on the circle')
plt.ylabel('log p in nats')
plt.legend()
plt.show()

# %% [markdown]
# ## Where to go from here
#
# `--mode=density` does all of this on the command line.
# `docs/energies.md` has the heights of images, and losses that teach them.
