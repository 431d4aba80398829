"""What the tests of bad input on the command line and in files share."""

import pytest

from drl_tf.cli import run_modes
from drl_tf.config import config as configuration
from drl_tf.planning import dry_run


@pytest.fixture(scope='module')
def run_dir(tmp_path_factory):
    """The workdir of a run as far as its configuration goes: `config.json` and the copy in its checkpoint."""
    workdir = tmp_path_factory.mktemp('stored') / 'run'
    digits = configuration.Config().replace(
        dataset='digits', image_size=16, image_channels=1, num_classes=10, channel_mult=(1, 2)
    )
    digits.save(workdir)
    digits.save(workdir / 'checkpoints' / '00000008')
    return workdir


@pytest.fixture(scope='module')
def work(tmp_path_factory):
    """What the command line would begin to work on: a list of (command, configuration, workdir, devices),
    instead of the work; ~ is an empty directory."""
    begun = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('HOME', str(tmp_path_factory.mktemp('home')))
        patch.setattr(run_modes, 'run', lambda *arguments: begun.append(arguments))
        patch.setattr(dry_run, 'show', lambda *_, **__: None)
        yield begun
