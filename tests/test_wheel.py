"""The package as a wheel, installed into an empty environment."""

import os
import subprocess
import sys
import sysconfig

import pytest
from helpers.tiny import ROOT

TRIED = """
import drl_tf, numpy as np, os, sys
assert drl_tf.__file__.startswith(sys.prefix), drl_tf.__file__
model = drl_tf.EnergyModel.from_preset('digits')
images = model.generate(2, seed=1)
np.save('images.npy', images)
print(images.shape, images.dtype, np.ptp(images) > 100, sorted(model.presets))
"""


@pytest.mark.slow
def test_the_wheel_works_from_another_folder(tmp_path):
    """The environment takes its dependencies from this one; the package itself only from the wheel."""

    def call(*command):
        environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    call(*pip, 'wheel', '--no-deps', '--no-build-isolation', '--wheel-dir', str(tmp_path), str(ROOT))
    (wheel,) = tmp_path.glob('drl_tf-*.whl')
    call(sys.executable, '-m', 'venv', '--without-pip', 'empty')
    python = tmp_path / 'empty' / 'bin' / 'python'
    packages = call(str(python), '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))').strip()
    call(*pip, 'install', '--no-deps', '--no-index', '--target', packages, str(wheel))
    with open(os.path.join(packages, 'dependencies.pth'), 'w', encoding='utf-8') as file:
        file.write(sysconfig.get_path('purelib') + '\n')
    printed = call(str(python), '-c', TRIED)
    assert printed.splitlines()[-1] == "(2, 16, 16, 1) uint8 True ['digits', 'toy_checkerboard']"
    assert (tmp_path / 'images.npy').exists()
