"""The table of which mode reads which option, held against what the modes access while they run.

Left out are options of which a mode cannot differ from its run, and those in BEFORE, NO_MATTER and NOT_SEEN.
"""

import contextlib
import dataclasses
import io
import sys

import numpy as np
import pytest
from helpers import authors_format, golden
from helpers.authors_format import Architecture, variables
from helpers.serving import export_only
from helpers.tiny import TINY, refused

from drl_tf.app import server
from drl_tf.cli import modes, parsing, run_modes
from drl_tf.cli.command_options import MODES, Command
from drl_tf.cli.main import main
from drl_tf.cli.options_by_mode import READ_BY, SET_BY_ROWS, readers
from drl_tf.config import config as configuration
from drl_tf.config import tuned
from drl_tf.evaluation.metrics import detection
from drl_tf.experiments import ablation_rows, sweep

# Read before; digits are in no directory.
BEFORE = {'workdir', 'model', 'deterministic', 'data_dir', 'sampler'}
# A mode accesses these though they do not matter there: the seed of weights that are then restored, facts of
# the training for the model card, the levels that a sampler would visit, and guidance or K that is replaced.
NO_MATTER = {
    'export': {'seed', 'train_steps'},
    'density': {'sampling_levels', 'sample_batch_size'},
    'long_run': {'sampling_levels'},
    'sweep_guidance': {'guidance'},
    'sweep_steps': {'mcmc_steps'},
    'sweep_chains': {'step_scale'},
    'tune_sampler': set(tuned.OPTIONS),  # Those of the run: the search starts from them, and sets them.
}
# Options that a mode reads unseen: from a copy that the recorder does not know, or only if training diverges.
# --mode=ablate refuses those of its rows.
NOT_SEEN = {
    'prepare': {'labels_file', 'manual_dir'},
    'compose': {'labels_file', 'manual_dir'},  # Read for an --expression with | (or).
    'ablate': {*SET_BY_ROWS, 'max_rollbacks'},
}
NEW = ('import_official', 'train', 'ablate')  # Modes that begin a run.
STORE_ALL = ('import_official', 'train')  # Modes that write the whole configuration into `config.json`.
SMALL = [
    *TINY, '--image_size=8', '--channels=4', '--num_classes=-1', '--num_levels=2', '--mcmc_steps=1',
    '--train_steps=1', '--steps_per_execution=1',
]  # fmt: skip
POINTS = [
    '--dataset=toy_two_moons', '--channels=8', '--num_levels=2', '--train_steps=1', '--batch_size=8',
    '--grid_every=0',
]  # fmt: skip
FEW = {
    'import_official': ['--official_checkpoint=ckpt'],
    'prepare': ['--output_dir=prepared'],
    'train': SMALL,
    'sample': ['--num_samples=2'],
    'compose': ['--num_samples=2'],
    'inpaint': ['--num_inputs=2', '--num_results=2', '--edit_rounds=1'],
    'restore': ['--num_inputs=2', '--num_results=2', '--edit_rounds=1'],
    'edit': ['--num_inputs=2', '--num_results=2'],
    'interpolate': ['--num_frames=2'],
    'stats': ['--num_real=32'],
    'evaluate': ['--num_samples=3', '--num_real=32', '--seed=5'],
    'likelihood': ['--num_chains=2', '--ais_steps=1', '--num_real=4', '--sample_batch_size=4'],
    'score': ['--num_real=4', '--sample_batch_size=4'],
    'ood': ['--num_real=4', '--sample_batch_size=4', '--ood=noise', '--seed=5'],
    'density': ['--num_samples=4', '--num_chains=2', '--ais_steps=1'],
    'long_run': [
        '--num_chains=2', '--chain_burn_in=1', '--chain_steps=2', '--chain_levels=1', '--num_real=32',
    ],
    'sweep_steps': ['--num_samples=3', '--num_real=32'],
    'sweep_guidance': ['--num_samples=3', '--num_real=32'],
    'sweep_chains': [
        '--num_samples=3', '--num_real=32', '--sweep_levels=2', '--sweep_mcmc_steps=1',
        '--sweep_correctors=langevin',
    ],
    'tune_sampler': ['--num_samples=3', '--num_real=32', '--tune_settings=1'],
    'ablate': [
        *(word for word in SMALL if word.partition('=')[0].removeprefix('--') not in SET_BY_ROWS),
        '--num_samples=3', '--num_real=32',
    ],
    'export': ['--max_samples=2'],
    'report': ['--num_samples=4'],
    'app': [],
}  # fmt: skip


@pytest.fixture(scope='module')
def digits_run(tmp_path_factory):
    """The workdir of a run of one step of digits with classes."""
    return trained(tmp_path_factory.mktemp('runs') / 'digits', SMALL)


def trained(workdir, options):
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(['run.py', *options, f'--workdir={workdir}']) == 0
    return workdir


class Recorder:
    """Records which options are read from a `Command` and a `Config`, and from copies of this `Config` of the
    options that the copy kept."""

    def __init__(self, patch):
        self.names = set()
        self._kept = {}  # {id of a group: (the group, names of its options that are still those asked for)}
        groups = [group.type for group in configuration.groups()]
        for kind in (Command, *groups):
            patch.setattr(kind, '__getattribute__', self._reading)
        with_flags = configuration.Config.with_flags

        def replaced(config, **values):
            new = with_flags(config, **values)
            for group in configuration.groups():
                self._keep(vars(new)[group.name], self._left(vars(config)[group.name]) - set(values))
            return new

        patch.setattr(configuration.Config, 'with_flags', replaced)

    def watch(self, command, config):
        for group in (command, *vars(config).values()):
            self._keep(group, {field.name for field in dataclasses.fields(group)})

    def _keep(self, group, names):
        self._kept[id(group)] = group, names

    def _left(self, group):
        return self._kept.get(id(group), (group, set()))[1]

    @property
    def _reading(self):
        def read(group, name):
            if name in self._left(group) and not _only_validates(sys._getframe(1)):
                self.names.add(name)
            return object.__getattribute__(group, name)

        return read


def _only_validates(frame):
    """Whether a function, or its caller, goes through all options, to check, copy or compare them."""
    return any(_goes_through(code) for code in (frame.f_code, frame.f_back.f_code))


def _goes_through(code):
    file, name = code.co_filename, code.co_name
    if file.endswith('config/chains.py'):
        return 'check' in name
    return file.endswith(
        (
            'config/data_options.py',
            'sampling_options.py',
            'option_fields.py',
            'combinations.py',
            'dataclasses.py',
        )
    ) or (
        file.endswith('config/config.py')
        and name in ('__post_init__', 'options', 'with_flags', 'differences')
    )


def begin(mode, patch):
    """Prepares what modes need besides a run: a checkpoint of the authors' code, a short table, no server."""
    if mode == 'import_official':
        authors_format.write('ckpt', {'model_ema': variables(Architecture(channels=4, mult=(1,)), seed=0)})
    patch.setitem(ablation_rows.TABLES, 't6', {'few': dict(num_levels=2, mcmc_steps=(1,))})
    patch.setattr(server, 'serve', lambda directory, port, places: None)


SLOW = ('train', 'likelihood', 'density', 'ablate', 'export')


@pytest.mark.parametrize(
    'mode', [pytest.param(mode, marks=pytest.mark.slow) if mode in SLOW else mode for mode in FEW]
)
def test_a_mode_accesses_what_the_table_says(digits_run, monkeypatch, tmp_path, mode):
    """Each mode reads exactly the options that the table names, among those of the command and those that may
    differ from the run's."""
    monkeypatch.setattr(sweep, 'GUIDANCE', (1.0,))
    monkeypatch.setattr(sweep, 'EVALUATIONS', (2,))
    monkeypatch.setattr(detection, 'RESAMPLES', 5)
    monkeypatch.chdir(tmp_path)
    begin(mode, monkeypatch)
    workdir = tmp_path / 'new' if mode in NEW else digits_run
    if mode == 'density':
        workdir = trained(tmp_path / 'points', POINTS)
    if mode == 'export':
        export_only(monkeypatch, 'sample', 'energy')
    if mode == 'sweep_chains':
        workdir = golden.copied('preconditioned', tmp_path / 'run')
    check(mode, [f'--workdir={workdir}', *FEW[mode]], monkeypatch)


def check(mode, words, patch):
    """Runs a mode, and compares the options that it accesses with those that the table names."""
    argv = ['run.py', f'--mode={mode}', *words]
    values = parsing.parse(argv)
    command = parsing.group_of(Command, values)
    config, workdir = parsing.resolve(command, values, argv)
    exact = mode in run_modes.FLOAT32
    config = config.replace(precision='float32')
    recorder = Recorder(patch)
    recorder.watch(command, config)
    with contextlib.redirect_stdout(io.StringIO()):
        modes.FUNCTIONS[mode](command, config, workdir)
    found = recorder.names - NO_MATTER.get(mode, set()) - ({'precision'} if exact else set())
    if mode in STORE_ALL:
        found |= {field.name for field, _ in config.options()}
    fixed = {field.name for field, _ in config.options() if field.metadata['changes'] == 'never'}
    said = {name for name in READ_BY if mode in readers(name, command.samples)}
    said -= {name for name in said if READ_BY[name] is MODES} | NOT_SEEN.get(mode, set())
    differences = (found ^ said) - fixed - BEFORE
    assert not differences, (sorted(found - said), sorted(said - found))


def test_scores_of_given_images_access_what_the_table_says(monkeypatch, tmp_path):
    np.save(tmp_path / 'x.npy', np.zeros([3, 16, 16, 1], np.uint8))
    check('evaluate', [f'--samples={tmp_path}/x.npy', '--dataset=digits', '--num_real=32'], monkeypatch)


@pytest.mark.parametrize('option', ['--flip', '--data_mean=0', '--data_std=0.5', '--exact_images=5'])
@pytest.mark.parametrize(
    'words', ['--mode=prepare --output_dir=o', '--mode=stats', '--mode=evaluate --samples=.']
)
def test_images_without_a_model_need_no_options_of_models(capsys, words, option):
    line = refused(capsys, *words.split(), '--dataset=digits', option)
    name = option.split('=')[0]
    assert f'{name} is for --mode=' in line or line.endswith(f'without a run: drop {name}')


def test_all_classes_are_prepared(capsys):
    words = ['--mode=prepare', '--output_dir=o', '--dataset=digits', '--num_classes=10']
    assert '--num_classes is for --mode=' in refused(capsys, *words)


def test_the_chief_alone_runs_what_no_worker_shares():
    shared = {'train', 'sample', 'compose', 'stats', 'evaluate', 'tune_sampler', 'ablate'}
    shared |= {mode for mode in MODES if mode.startswith('sweep_')}
    assert set(MODES) - shared == modes.OF_CHIEF


def test_every_mode_is_held_against_the_table():
    assert set(FEW) == set(MODES)
