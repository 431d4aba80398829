"""What several test files use. TensorFlow is imported where it is needed: pytest-xdist's own process runs no
test."""

import contextlib
import dataclasses
import fcntl
import gc
import io
import json
import os
import pathlib
import shutil
import types

import pytest

if 'PYTEST_XDIST_WORKER' in os.environ:
    # The processes of pytest-xdist share the cores: an operation of TensorFlow or NumPy gets one thread.
    os.environ.setdefault('TF_NUM_INTRAOP_THREADS', '1')
    os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')


# Files late in the alphabet that have a slow test of half a minute.
LONG_FILES = [
    pathlib.Path(__file__).parent / name
    for name in ('tools/bench/test_processes.py', 'tools/test_run_lowered.py', 'training/test_survival.py')
]


def pytest_collection_modifyitems(items):
    """Runs the long files first, so that both processes of `make test-slow` end at about the same time."""
    assert all(path.exists() for path in LONG_FILES)
    items.sort(key=lambda item: item.path not in LONG_FILES)


def pytest_collection():
    """Turns garbage collection off while test modules are imported."""
    gc.disable()


def pytest_collection_finish():
    """Turns garbage collection on again, but seldom: each pass looks at all graphs so far."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(100_000, 20, 20)


def pytest_sessionfinish():
    """Keeps the last garbage collection of pytest from looking at all graphs."""
    gc.freeze()


def made_once(tmp_path_factory, name, make):
    """A copy of a directory that the first of the test processes makes and the others wait for."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if 'PYTEST_XDIST_WORKER' in os.environ else root
    with open(root / f'{name}.lock', 'w', encoding='utf-8') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / name).exists():
            make(root / f'{name}.part')
            (root / f'{name}.part').rename(root / name)
    return shutil.copytree(root / name, tmp_path_factory.mktemp(name) / name)


@pytest.fixture(scope='session', autouse=True)
def whole_batches():
    """Commands that run in the tests' own processes split no batch, unless an option says so."""
    from drl_tf.cli import cpu_split

    def splits(command, config, devices):
        chosen = 'no' if devices.cpu_split == 'auto' else devices.cpu_split
        return cpu_split.splits(command, config, dataclasses.replace(devices, cpu_split=chosen))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('drl_tf.cli.main.cpu_split', types.SimpleNamespace(splits=splits))
        yield


@pytest.fixture(scope='session')
def tiny_run(tmp_path_factory):
    """The workdir of a run of 32 steps, made by two commands, of which the first one draws grids."""

    from helpers.tiny import TINY

    from drl_tf.cli.main import main

    def make(workdir):
        command = ['run.py', *TINY, f'--workdir={workdir}']
        with contextlib.redirect_stdout(io.StringIO()) as out:
            for steps, grid_every in ((16, 8), (32, 0)):
                assert main([*command, f'--train_steps={steps}', f'--grid_every={grid_every}']) == 0
        assert 'resuming at step 16' in out.getvalue()

    return made_once(tmp_path_factory, 'tiny', make)


LIKELIHOOD = {
    'step': 4, 'weights': 'ema', 'log_z_low': 103.5, 'log_z_high': 100.25, 'density_low': 4.0,
    'density_high': 3.5,
    'num_images': 9, 'num_chains': 4, 'transitions': 10, 'notes': ['high is below low'],
}  # fmt: skip


@pytest.fixture
def class_run(tmp_path):
    """The workdir of the small run of `cdrl` in `golden/`: 4 steps, 8 px, 10 classes, 2 levels, K = 2."""
    from helpers import golden

    return golden.copied('cdrl', tmp_path / 'classes')


def export_small_run(root):
    """Exports the small run of `cdrl` to `root/digits/1`, with a log Z_0 that is made up."""

    from helpers import golden

    from drl_tf.cli.main import main

    golden.copied('cdrl', root / 'run')
    (root / 'run' / 'likelihood').mkdir()
    (root / 'run' / 'likelihood' / '00000004-ema.json').write_text(json.dumps(LIKELIHOOD))
    arguments = [f'--workdir={root}/run', f'--export_dir={root}/digits', '--max_samples=20']
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(['run.py', '--mode=export', *arguments]) == 0


@pytest.fixture(scope='session')
def whole_export(tmp_path_factory):
    """The version folder of the small run of `cdrl` in `golden/`, exported as `digits`: 8 px, 10 classes, 2
    levels, K = 2.

    Its log Z_0 is made up: from 100.25 to 103.5.
    """
    return made_once(tmp_path_factory, 'whole', export_small_run) / 'digits' / '1'


@pytest.fixture(scope='session')
def small_export(tmp_path_factory):
    """As `whole_export`, with the signatures `energy` and `energy_bytes` alone, which takes less time."""

    from helpers.serving import export_only

    def make(root):
        with pytest.MonkeyPatch.context() as patch:
            export_only(patch, 'energy', 'energy_bytes')
            export_small_run(root)

    return made_once(tmp_path_factory, 'small', make) / 'digits' / '1'
