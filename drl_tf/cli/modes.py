"""Runs the modes: one short function each. What a mode needs is imported in its function: some imports take
seconds."""

import dataclasses

from drl_tf.cli import checks
from drl_tf.cli.command_options import MODES, export_directory, labels_of, num_scored, reads_export
from drl_tf.config import combinations
from drl_tf.config import config as configuration
from drl_tf.core.weights import Weights
from drl_tf.distributed import devices, workers
from drl_tf.runs import checkpoint, exported
from drl_tf.runs.request import SampleRequest

FLOAT32 = ('export', 'likelihood', 'density', 'long_run')


def run(command, config, workdir, wanted):
    """Sets the devices up, runs the modes in order and prints after each where everything is.

    Args:
      command: a `Command`.
      config: a `Config`.
      workdir: the directory of the run.
      wanted: a `cluster.Devices`.
    """
    devices.set_up(config.training.deterministic, wanted)
    with workers.as_one_run():
        config = config.replace(precision=devices.resolve_precision(config.training.precision))
        exact = ', '.join(mode for mode in command.mode if mode in FLOAT32)
        print(
            f'precision: {config.training.precision}' + (f' ({exact}: float32)' if exact else ''), flush=True
        )
        workers.check_alike(dataclasses.asdict(command), dataclasses.asdict(config))
        workers.by_chief(lambda: _check(command, config, workdir))
        if reads_export(command):
            workdir = exported.find(command.model)
        elif command.model:
            workers.by_chief(lambda: exported.link(exported.find(command.model), workdir))
        for mode in MODES:
            if mode in command.mode:
                for label, words in (FUNCTIONS[mode](command, config, workdir) or {}).items():
                    print(f'{label:17} {words}', flush=True)
                if mode == 'train':
                    config = _as_trained(config, workdir)


def _as_trained(config, workdir):
    """A configuration with the mean and deviation of the images that training measured."""
    data = workers.told_by_chief(lambda: dataclasses.asdict(configuration.load(workdir).data))
    return config.replace(data_mean=tuple(data['data_mean']), data_std=data['data_std'])


def _check(command, config, workdir):
    if workers.count() > 1:  # One process has checked this before it loaded TensorFlow.
        checks.check_configuration(command, config, workdir)
    checks.check_work(command, config)


def _import_official(command, config, workdir):
    from drl_tf.training.import_official import import_official

    return workers.by_chief(
        lambda: import_official(config, workdir, command.official_checkpoint, command.official_weights)
    )


def _train(command, config, workdir):
    from drl_tf.training import train

    init_from = command.init_from and exported.readable(command.init_from, '--init_from')
    return train.train(config, workdir, init_from, command.weights, command.restart)


def _sample(command, config, workdir):
    from drl_tf.runs import generate

    request = _request(command, config, workdir, labels=command.labels)
    return generate.generate(config, workdir, request, command.output_dir, command.save_images)


def _compose(command, config, workdir):
    from drl_tf.runs import generate

    labels = labels_of(command)
    weights = command.label_weights * (len(labels) if len(command.label_weights) == 1 else 1)
    request = _request(command, config, workdir, labels=labels, label_weights=weights)
    return generate.generate(config, workdir, request, command.output_dir, command.save_images)


def _stats(command, config, workdir):
    from drl_tf.evaluation.make_statistics import make_statistics

    del workdir
    return make_statistics(config, command.split, command.keep_features)


def _evaluate(command, config, workdir):
    from drl_tf.evaluation import evaluate

    if command.samples:
        return evaluate.evaluate_samples(config, command.samples)
    return evaluate.evaluate(config, workdir, _scored(command, config, workdir), command.evaluation_seeds)


def _likelihood(command, config, workdir):
    from drl_tf.experiments import direct_likelihood, likelihood

    step = _step(command, workdir)
    if (command.method or combinations.likelihood_method(config)) == 'direct':
        return workers.by_chief(lambda: direct_likelihood.likelihood(config, workdir, command.weights, step))
    effort = (command.num_chains or 64, command.ais_steps, command.hmc_leapfrog)
    return workers.by_chief(lambda: likelihood.likelihood(config, workdir, *effort, command.weights, step))


def _density(command, config, workdir):
    from drl_tf.experiments import density

    effort = (
        command.num_samples or _samples(config),
        command.num_chains or 1000,
        command.ais_steps,
        command.hmc_leapfrog,
    )
    step = _step(command, workdir)
    return workers.by_chief(lambda: density.density(config, workdir, *effort, command.weights, step))


def _long_run(command, config, workdir):
    from drl_tf.experiments import long_run

    chains = (command.chain_levels, command.chain_method, command.num_chains or 100, command.hmc_leapfrog)
    plan = long_run.Plan(*chains, command.chain_burn_in, command.chain_steps, command.chain_minutes)
    step = _step(command, workdir)
    return workers.by_chief(lambda: long_run.long_run(config, workdir, plan, command.weights, step))


def _sweep_steps(command, config, workdir):
    from drl_tf.experiments import sweep

    return sweep.sweep_steps(config, workdir, _scored(command, config, workdir))


def _sweep_guidance(command, config, workdir):
    from drl_tf.experiments import sweep

    return sweep.sweep_guidance(config, workdir, _scored(command, config, workdir))


def _ablate(command, config, workdir):
    from drl_tf.experiments import ablate

    return ablate.ablate(config, workdir, num_scored(command), command.weights)


def _export(command, config, workdir):
    from drl_tf.serving import export

    directory, step = export_directory(command, workdir), _step(command, workdir)
    return workers.by_chief(
        lambda: export.export(config, workdir, directory, command.max_samples, command.weights, step)
    )


FUNCTIONS = {
    'import_official': _import_official,
    'train': _train,
    'sample': _sample,
    'compose': _compose,
    'stats': _stats,
    'evaluate': _evaluate,
    'likelihood': _likelihood,
    'density': _density,
    'long_run': _long_run,
    'sweep_steps': _sweep_steps,
    'sweep_guidance': _sweep_guidance,
    'ablate': _ablate,
    'export': _export,
}


def _request(command, config, workdir, **classes):
    """What the options ask to draw."""
    count = command.num_samples or _samples(config)
    return _set(command, config, workdir, count, first=command.first_sample, **classes)


def _scored(command, config, workdir):
    """What the options ask to score."""
    return _set(command, config, workdir, num_scored(command))


def _set(command, config, workdir, count, **changes):
    """A request for images by the weights and the checkpoint that the options name."""
    weights, step = Weights(command.weights), _step(command, workdir)
    return SampleRequest.of(config, count, weights=weights, step=step, **changes)


def _step(command, workdir):
    """Which checkpoint was asked for, None for the newest; all workers ask at once."""
    if command.best:
        return workers.told_by_chief(lambda: checkpoint.best_step(workdir))
    return None if command.checkpoint_step < 0 else command.checkpoint_step


def _samples(config):
    """How many images are sampled where nothing is said."""
    return 10_000 if config.planar else 100 if config.data.num_classes else 64
