"""The package as a wheel, in an environment that has its dependencies and nothing else; make and Docker.

Files of the tests' own environment stand in for the dependencies: unpacking them anew would take a minute.
"""

import collections
import configparser
import filecmp
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.tiny import ROOT
from packaging.requirements import Requirement

LOADED = """
import drl_tf, sys
assert drl_tf.__file__.startswith(sys.prefix), drl_tf.__file__
model = drl_tf.EnergyModel.from_preset('digits')
print(model.image_shape, sorted(model.presets))
"""
PIP = ('-m', 'pip', '--disable-pip-version-check')
WHEEL = (*PIP, 'wheel', '--no-deps', '--no-build-isolation')


def needed(requirements, extras=('',), found=None):
    """All distributions that requirements need, directly or through others: {(name, *extras): distribution}.

    A distribution that is missing, or whose version does not fit, is an error.
    """
    found = {} if found is None else found
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        if marker and not any(marker.evaluate({'extra': extra}) for extra in extras):
            continue
        distribution = importlib.metadata.distribution(requirement.name)
        assert requirement.specifier.contains(distribution.version, prereleases=True), requirement
        if (key := (distribution.name, *sorted(requirement.extras))) not in found:
            found[key] = distribution
            needed(distribution.requires or (), ('', *requirement.extras), found)
    return found


def files_of(directory):
    """The paths of all files, relative to the directory."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob('*') if path.is_file())


def assert_files(package):
    """Asserts that a package has the modules of the checkout and every file of its models, byte for byte."""
    modules, ours = (
        [path for path in files_of(root) if path.endswith('.py')] for root in (package, ROOT / 'drl_tf')
    )
    assert modules == ours
    _, changed, lost = filecmp.cmpfiles(package, ROOT / 'drl_tf', ours, shallow=False)
    assert not changed and not lost
    for version in (ROOT / 'saved_models').glob('*/[0-9]*'):
        copy, files = package / 'saved_models' / version.parent.name / version.name, files_of(version)
        assert files_of(copy) == files
        _, changed, lost = filecmp.cmpfiles(copy, version, files, shallow=False)
        assert not changed and not lost


def link(distributions, site_packages):
    """Makes links to the files of distributions, but for their programs.

    A directory that holds files of one distribution alone becomes one link.
    """

    def top(path):
        return path.partition('/')[0]

    files = {each.name: list(map(str, each.files or ())) for each in importlib.metadata.distributions()}
    owners = collections.defaultdict(set)
    for name, paths in files.items():
        for path in paths:
            owners[top(path)].add(name)
    for name, distribution in distributions.items():
        paths = [path for path in files[name] if top(path) != '..']
        for path in {path if len(owners[top(path)]) > 1 else top(path) for path in paths}:
            os.makedirs(os.path.dirname(f'{site_packages}/{path}'), exist_ok=True)
            os.symlink(distribution.locate_file(path), f'{site_packages}/{path}')


def test_setuptools_still_has_what_tensorflow_hub_imports():
    """`pkg_resources`, which setuptools 82 does not have."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / 'setup.cfg')
    (versions,) = (
        each.specifier
        for each in map(Requirement, settings['options']['install_requires'].split('\n')[1:])
        if each.name == 'setuptools'
    )
    assert importlib.util.find_spec('pkg_resources')
    assert '65.5.0' in versions and '81.0.0' in versions and '82.0.0' not in versions


def test_clean_keeps_the_runs():
    commands = subprocess.run(['make', '-n', 'clean'], cwd=ROOT, capture_output=True, text=True, check=True)
    removed = commands.stdout.split()
    assert 'build' in removed and 'runs' not in removed


def test_docker_and_make_run_the_same_demo():
    texts = [(ROOT / name).read_text() for name in ('Makefile', 'Dockerfile')]
    demo, image = (re.findall('--mode=(train.*?|like.*?) ', text) for text in texts)
    assert demo == image == ['train,sample,evaluate', 'likelihood,export,report']


def copied_sources(directory):
    """Copies what a wheel is built from, but for build/: setuptools would take deleted files from there."""
    for name in ('drl_tf', 'flags', 'saved_models'):
        shutil.copytree(ROOT / name, directory / name, symlinks=True)
    for name in ('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, directory)
    return directory


@pytest.mark.slow
def test_the_wheel_works_where_only_its_dependencies_are(tmp_path):
    """From another folder: the models of the package, and the command `drl-tf`, which starts quietly."""
    of_tests = ('PYTHONPATH', 'PIP_TARGET', 'TF_CPP_MIN_LOG_LEVEL')
    environment = {key: value for key, value in os.environ.items() if key not in of_tests}

    def call(*command, timeout=300):
        done = subprocess.run(
            [*map(str, command)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    call(sys.executable, *WHEEL, '--wheel-dir', '.', copied_sources(tmp_path / 'checkout'))
    (wheel,) = tmp_path.glob('drl_tf-*.whl')
    call(sys.executable, '-m', 'venv', '--without-pip', 'empty')
    programs = tmp_path / 'empty' / 'bin'
    call(sys.executable, *PIP, '--python', programs / 'python', 'install', '--no-deps', '--no-compile', wheel)
    site_packages = pathlib.Path(
        call(
            programs / 'python', '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'
        ).stdout.strip()
    )
    assert_files(site_packages / 'drl_tf')
    (metadata,) = importlib.metadata.distributions(name='drl_tf', path=[str(site_packages)])
    link({each.name: each for each in needed(metadata.requires).values()}, site_packages)
    printed = call(programs / 'python', '-c', LOADED)
    assert printed.stdout.splitlines()[-1] == "(16, 16, 1) ['digits', 'toy_checkerboard']"
    words = ['--mode=sample', '--model=digits', '--workdir=w', '--num_samples=2', '--seed=1']
    said = call(programs / 'drl-tf', *words).stderr
    for remark in ('cudart', 'oneDNN', 'absl::InitializeLog', 'cuInit', 'rebuild TensorFlow'):
        assert remark not in said, said
    (shard,) = (tmp_path / 'w' / 'samples').rglob('*.npz')
    images = np.load(shard)['images']
    assert images.shape == (2, 16, 16, 1) and images.dtype == np.uint8 and images.std() > 50
    help_text = call(programs / 'drl-tf', '--help').stdout
    assert '--dataset' in help_text and '--flagfile' in help_text
