"""The package as a wheel, installed with its dependencies into an empty environment."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.tiny import ROOT

SAVED = """
import drl_tf, numpy as np, sys
assert drl_tf.__file__.startswith(sys.prefix), drl_tf.__file__
model = drl_tf.EnergyModel.from_preset('digits')
images = model.generate(2, seed=1)
model.save('digits.keras')
np.savez('saved.npz', images=images, energies=model.energy(images))
print(images.shape, images.dtype, sorted(model.presets))
"""
LOADED = """
import numpy as np
from drl_tf import EnergyModel
import keras
saved = np.load('saved.npz')
model = keras.saving.load_model('digits.keras')
assert type(model) is EnergyModel
np.testing.assert_array_equal(model.energy(saved['images']), saved['energies'])
np.testing.assert_array_equal(EnergyModel.from_preset('digits.keras').generate(2, seed=1), saved['images'])
"""
PIP = ('-m', 'pip', '--disable-pip-version-check')


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(tmp_path):
    """From another folder: the models of the package, `.keras` files, and the command `drl-tf`."""
    environment = {key: value for key, value in os.environ.items() if key not in ('PYTHONPATH', 'PIP_TARGET')}

    def run(*command, **options):
        return subprocess.run(
            [*map(str, command)], cwd=tmp_path, env=environment, capture_output=True, text=True, **options
        )

    def call(*command, timeout=300):
        done = run(*command, timeout=timeout)
        assert done.returncode == 0, done.stderr
        return done.stdout

    reached = run(sys.executable, *PIP, 'download', '--no-deps', '--dest', 'index', 'absl-py', timeout=120)
    if reached.returncode:
        pytest.skip('the package index cannot be reached, so nothing can be installed')
    call(sys.executable, *PIP, 'wheel', '--no-deps', '--no-build-isolation', '--wheel-dir', '.', ROOT)
    (wheel,) = tmp_path.glob('drl_tf-*.whl')
    programs = tmp_path / 'empty' / 'bin'
    try:
        call(sys.executable, '-m', 'venv', 'empty')
        call(programs / 'python', *PIP, 'install', '--no-compile', wheel, timeout=1800)
        printed = call(programs / 'python', '-c', SAVED)
        assert printed.splitlines()[-1] == "(2, 16, 16, 1) uint8 ['digits', 'toy_checkerboard']"
        call(programs / 'python', '-c', LOADED)
        call(
            programs / 'drl-tf',
            '--mode=sample',
            '--model=digits',
            '--workdir=w',
            '--num_samples=2',
            '--seed=1',
        )
        (shard,) = (tmp_path / 'w' / 'samples').rglob('*.npz')
        difference = np.load(shard)['images'].astype(int) - np.load(tmp_path / 'saved.npz')['images']
        assert np.abs(difference).max() <= 1
        help_text = call(programs / 'drl-tf', '--help')
        assert '--dataset' in help_text and '--flagfile' in help_text
    finally:
        shutil.rmtree(tmp_path / 'empty', ignore_errors=True)  # It takes gigabytes.
