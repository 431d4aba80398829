# %% [markdown]
# # From nothing to digits, scores and a served model
#
# This notebook trains a model on handwritten digits, looks at it, measures it, and serves it.
# It needs no download: 5,000 digits come with a package that is installed already.

# %%
# This cell installs the package. Where it is installed already, the cell does nothing.
import importlib.util
import pathlib
import subprocess
import sys

# The package is on no index, and the project has no public address yet. In a checkout of the repository,
# nothing is to be set. Elsewhere, set this to a wheel, or to the address of a repository: 'git+https://...'
SOURCE = ''

if not all(importlib.util.find_spec(name) for name in ('drl_tf', 'tensorflow', 'tensorflow_serving')):
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

import atexit
import json
import pathlib
import socket

import matplotlib.pyplot as plt
import numpy as np
import requests

import drl_tf

# %% [markdown]
# ## Train
#
# The defaults are the digits and their recipe. Here training is short: a minute on 2 CPU cores.
# Without `--train_steps` and what follows it, `--max_minutes=5` gives much better digits.
# Run the cell again, and training resumes. `runs/digits/report.html` is a page about the run.


# %%
def run(*options):
    """Runs the command `drl-tf` with these options, and shows the last lines that it prints."""
    command = [sys.executable, '-m', 'drl_tf.cli', *options]
    done = subprocess.run(command, capture_output=True, text=True)
    print('\n'.join(done.stdout.splitlines()[-20:]))
    if done.returncode:
        raise SystemExit(done.stderr)


run(
    '--workdir=runs/digits',
    '--train_steps=1000',
    '--decay_steps=1000',
    '--ema_decay=0.99',
    '--grid_every=500',
    '--max_minutes=1.5',
)

# %% [markdown]
# ## Look at the training
#
# `metrics.jsonl` has a line for every 100 steps. Level 0 has the least noise.

# %%
lines = [json.loads(line) for line in pathlib.Path('runs/digits/metrics.jsonl').read_text().splitlines()]
plt.figure(figsize=(6, 3))
for level, losses in enumerate(zip(*[line['level_loss'] for line in lines], strict=True)):
    plt.plot([line['step'] for line in lines], losses, label=f'level {level}')
plt.xlabel('step')
plt.ylabel('loss')
plt.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## Sample
#
# Each row is one class. `guidance` pulls the samples towards their class.

# %%
model = drl_tf.EnergyModel.from_preset('runs/digits')


def show(images, columns=10):
    """Draws grey images, [n, H, W, 1], in rows."""
    rows = -(-len(images) // columns)
    _, axes = plt.subplots(rows, columns, figsize=(0.6 * columns, 0.6 * rows))
    for ax, image in zip(axes.flat, images, strict=True):
        ax.imshow(image[..., 0], cmap='gray', vmin=0, vmax=255)
        ax.axis('off')
    plt.show()


show(model.generate(50, labels=np.repeat(np.arange(5), 10), guidance=0.5))

# %% [markdown]
# ## Compare with the model in the package
#
# It was trained for 20 minutes by score matching, as the recipe does, and for 61 more with two losses of
# heights added.
# Its card, `saved_models/digits/1/README.md`, says more.

# %%
shipped = drl_tf.EnergyModel.from_preset('digits')
show(shipped.generate(50, labels=np.repeat(np.arange(5), 10), guidance=0.5))

# %% [markdown]
# ## Score
#
# `--mode=evaluate` compares samples with real digits in the features of a digits classifier.
# A distance near the floor, that of held-out digits, is as good as it gets.
# Distances of other numbers of images are not comparable.

# %%
run('--mode=evaluate', '--workdir=runs/digits', '--num_samples=300')

# %% [markdown]
# ## Energies
#
# The energy ranks images: lower is likelier. Here are the lowest and the highest of 100 samples.
# Simple shapes with little ink are the likeliest.

# %%
samples = model.generate(100)
order = np.argsort(model.energy(samples))
show(np.concatenate([samples[order[:10]], samples[order[-10:]]]))

# %% [markdown]
# ## Export
#
# An export is a SavedModel with a model card. TensorFlow Serving takes it as it is.

# %%
run('--mode=export', '--workdir=runs/digits', '--export_dir=exports/mine')
print(pathlib.Path('exports/mine/1/README.md').read_text().split('## Training')[0])

# %% [markdown]
# ## Serve
#
# TensorFlow Serving runs in Docker. This stand-in speaks the same protocol and needs no Docker.
# It prints `ready` once the model has answered its warm-up requests.


# %%
def free_port():
    """Returns a port that nothing uses."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


rest = free_port()
log = pathlib.Path('exports/server.log')
server = subprocess.Popen(
    [
        sys.executable,
        '-m',
        'drl_tf.tools.model_server',
        '--model_name=mine',
        '--model_base_path=exports/mine',
        f'--port={free_port()}',
        f'--rest_api_port={rest}',
    ],
    stdout=subprocess.PIPE,
    stderr=log.open('w'),
    text=True,
)
atexit.register(server.kill)  # Also where a cell below fails.
for line in server.stdout:
    print(line.strip())
    if line.strip() == 'ready':
        break
else:
    raise SystemExit(f'the server ended before it was ready:\n{log.read_text()}')

# %% [markdown]
# ## Ask
#
# The request has a seed and the classes. The same seed gives the same digits.

# %%
inputs = {'seed': [0, 3], 'labels': [2, 0, 2, 5], 'guidance': 0.5}
url = f'http://127.0.0.1:{rest}/v1/models/mine:predict'
answer = requests.post(url, json={'signature_name': 'sample_class', 'inputs': inputs}, timeout=60)
answer.raise_for_status()
show(np.array(answer.json()['outputs'], np.uint8), columns=4)

# %% [markdown]
# ## Stop the server

# %%
server.terminate()
_ = server.wait()

# %% [markdown]
# ## Where to go from here
#
# `README.md` lists what the command can do. `docs/serving.md` has all signatures.
