"""Sets up the devices, and runs the modes of a command in order."""

import dataclasses
import functools
from typing import Any

from drl_tf.cli import checks
from drl_tf.cli.command_options import MODES, Command, reads_export
from drl_tf.cli.modes import FUNCTIONS, OF_CHIEF
from drl_tf.config import chains, objectives, tuned
from drl_tf.config import config as configuration
from drl_tf.config.config import Config
from drl_tf.distributed import chief, cluster, devices, workers
from drl_tf.runs import checkpoint, exported

FLOAT32 = ('export', 'inpaint', 'restore', 'likelihood', 'score', 'ood', 'density', 'long_run', 'report')
_DRAWING = ('sample', 'compose', 'edit', 'interpolate', 'evaluate', 'sweep_steps', 'sweep_guidance')


def run(command: Command, config: Config, workdir: str, wanted: cluster.Devices, splits: bool) -> None:
    """Sets up the devices, runs the modes in order, and prints the result of each mode.

    Args:
      command: the options that say what to do.
      config: the configuration of the run.
      workdir: the directory of the run.
      wanted: the options that choose the devices.
      splits: whether each core of a CPU computes its own part of a batch; `cpu_split.splits` decides it.

    Raises:
      UserError, DivergenceError, Interrupted, WorkerLost: a mode did not finish.
    """
    devices.set_up(config.training.deterministic, wanted, splits)
    with workers.as_one_run():
        config = config.replace(precision=devices.resolve_precision(config.training.precision))
        _print_precision(command, config)
        if command.sampler == 'tuned':
            print(f'sampler: tuned, {tuned.said(_sampler(config))}', flush=True)
        workers.check_alike(dataclasses.asdict(command), dataclasses.asdict(config))
        _check(command, config, workdir)
        if reads_export(command):
            workdir = exported.find(exported.two_of(command.model)[0])
        elif command.model:
            chief.only(exported.link)(exported.find(exported.two_of(command.model)[0]), workdir)
        for mode in MODES:
            if mode in command.mode:
                exact = config.replace(precision='float32') if _is_exact(mode, config) else config
                result = _results(mode, command, exact, workdir)
                for label, words in result.items():
                    print(f'{label:17} {words}', flush=True)
                if mode == 'train':
                    config = as_trained(config, workdir)
        workers.all_received()


def _results(mode: str, command: Command, config: Config, workdir: str) -> dict[str, str]:
    """Runs a mode, on all workers or on the chief alone, and returns the lines to print, {label: text}."""
    function = functools.partial(FUNCTIONS[mode], command, config, workdir)
    return (chief.only(function) if mode in OF_CHIEF else function)() or {}


def as_trained(config: Config, workdir: str) -> Config:
    """Returns a configuration with the values that training has chosen or measured.

    Training stores these values in the directory of the run: the mean and standard deviation of the data, the
    number of images that --energy=exact keeps (`exact_images`), and the numbers of steps `train_steps` and
    `decay_steps`.

    Args:
      config: the configuration before training.
      workdir: the directory of the run, in which training has begun.
    """

    @chief.only
    def taken() -> dict[str, Any]:
        stored = configuration.load(workdir)
        steps = {name: getattr(stored.training, name) for name in ('train_steps', 'decay_steps')}
        return {**configuration.measured(stored), **steps}

    found = taken()
    return config.replace(**{**found, 'data_mean': tuple(found['data_mean'])})


def _is_exact(mode: str, config: Config) -> bool:
    """Returns whether a mode computes in float32 whatever --precision says: it compares log densities."""
    if mode == 'train':
        return objectives.compares_densities(config)
    return mode in FLOAT32 or (mode in _DRAWING and config.corrector in chains.ADJUSTED)


def _sampler(config: Config) -> dict[str, Any]:
    """Returns the options of the sampler, {option: value}, without ends of levels that the schedule fixes."""
    fixed = {*chains.FREE_LEVELS} - {*chains.levels_of(config)}
    return {name: value for name, value in tuned.options_of(config).items() if name not in fixed}


def _print_precision(command: Command, config: Config) -> None:
    exact = ', '.join(mode for mode in command.mode if _is_exact(mode, config))
    suffix = f' ({exact}: float32)' if exact else ''
    print(f'precision: {config.training.precision}{suffix}', flush=True)


@chief.only
def _check(command: Command, config: Config, workdir: str) -> None:
    if cluster.workers().count > 1:  # A single process checks this before it loads TensorFlow.
        checks.check_configuration(command, config, workdir)
    checks.check_work(command, config)
    if command.sampler == 'tuned':
        _check_tuned(command, workdir)


def _check_tuned(command: Command, workdir: str) -> None:
    """Raises UserError if the sampler in the workdir was tuned for other weights than the command uses."""
    model = exported.find(command.model) if command.model else workdir
    step = checkpoint.newest_step(model) if command.checkpoint_step < 0 else command.checkpoint_step
    step = checkpoint.best_step(workdir) if command.best else step
    tuned.check_source(workdir, checkpoint.fingerprint(model, step))
