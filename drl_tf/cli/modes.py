"""Runs the modes, one function each."""

from collections.abc import Callable
from typing import Any

from drl_tf.cli import edit_modes, score_modes
from drl_tf.cli.command_options import (
    Command,
    export_directory,
    labels_of,
    num_scored,
    weights_of,
)
from drl_tf.config import combinations
from drl_tf.config.config import Config
from drl_tf.config.data_options import LOCAL_PATHS
from drl_tf.distributed import chief
from drl_tf.runs import checkpoint, exported
from drl_tf.runs.request import SampleRequest

_TUNED_IMAGES = 500  # For each sampler that --mode=tune_sampler measures.
Result = dict[str, str] | None  # {label: text} to print.


def _import_official(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.training.import_official import import_official

    return import_official(config, workdir, command.official_checkpoint, command.official_weights)


def _prepare(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.data import preparation

    del workdir
    return preparation.prepare(config.data, command.output_dir)


def _train(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.training import train

    init_from = exported.readable(command.init_from, '--init_from') if command.init_from else None
    return train.train(config, workdir, init_from, weights_of(command), command.restart)


def _sample(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.runs import generate

    request = _request(command, config, workdir, labels=command.labels)
    return generate.generate(config, workdir, request, command.output_dir, command.save_images)


def _compose(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.runs import generate

    labels = labels_of(command)
    weights = command.label_weights
    if command.expression:
        found = edit_modes.labels_and_weights(command)
        if found is None:
            count = command.num_samples or _default_samples(config)
            return edit_modes.compose(command, config, workdir, _step(command, workdir), count)
        labels, weights = found
    if len(weights) == 1:
        weights *= len(labels)
    request = _request(command, config, workdir, labels=labels, label_weights=weights)
    result = generate.generate(config, workdir, request, command.output_dir, command.save_images)
    return edit_modes.judged(command, config, result) if command.expression else result


def _inpaint(command: Command, config: Config, workdir: str) -> Result:
    return edit_modes.change('inpaint', command, config, workdir, _step(command, workdir))


def _restore(command: Command, config: Config, workdir: str) -> Result:
    return edit_modes.change('restore', command, config, workdir, _step(command, workdir))


def _edit(command: Command, config: Config, workdir: str) -> Result:
    return edit_modes.change('edit', command, config, workdir, _step(command, workdir))


def _interpolate(command: Command, config: Config, workdir: str) -> Result:
    return edit_modes.change('interpolate', command, config, workdir, _step(command, workdir))


def _stats(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.evaluation.make_statistics import make_statistics

    del workdir
    return make_statistics(config, command.split, command.keep_features)


def _evaluate(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.evaluation import evaluate

    if command.samples:
        return evaluate.evaluate_samples(config, command.samples)
    return evaluate.evaluate(config, workdir, _scored(command, config, workdir), command.evaluation_seeds)


def _likelihood(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.experiments import direct_likelihood, likelihood

    weights, step = weights_of(command), _step(command, workdir)
    if (command.method or combinations.likelihood_method(config)) == 'direct':
        return direct_likelihood.likelihood(config, workdir, weights, step)
    effort = (command.num_chains or 64, command.ais_steps, command.hmc_leapfrog)
    return likelihood.likelihood(config, workdir, *effort, weights, step)


def _score(command: Command, config: Config, workdir: str) -> Result:
    return score_modes.score(command, config, workdir, _step(command, workdir))


def _ood(command: Command, config: Config, workdir: str) -> Result:
    return score_modes.ood(command, config, workdir, _step(command, workdir))


def _density(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.experiments import density

    effort = (
        command.num_samples or _default_samples(config),
        command.num_chains or 1000,
        command.ais_steps,
        command.hmc_leapfrog,
    )
    step = _step(command, workdir)
    return density.density(config, workdir, *effort, weights_of(command), step)


def _long_run(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.experiments import long_run

    chains = (command.chain_levels, command.chain_method, command.num_chains or 100, command.hmc_leapfrog)
    plan = long_run.Plan(*chains, command.chain_burn_in, command.chain_steps, command.chain_minutes)
    step = _step(command, workdir)
    return long_run.long_run(config, workdir, plan, weights_of(command), step)


def _sweep_steps(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.experiments import sweep

    return sweep.sweep_steps(config, workdir, _scored(command, config, workdir))


def _sweep_guidance(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.experiments import sweep

    return sweep.sweep_guidance(config, workdir, _scored(command, config, workdir))


def _sweep_chains(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.experiments import sweep_chains

    varied = (command.sweep_levels, command.sweep_correctors, command.sweep_mcmc_steps)
    return sweep_chains.sweep_chains(config, workdir, _scored(command, config, workdir), *varied)


def _tune_sampler(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.experiments import tune_sampler

    request = _samples(command, config, workdir, command.num_samples or _TUNED_IMAGES)
    budget = tune_sampler.Budget(command.tune_minutes, command.tune_settings, command.tune_gradients)
    return tune_sampler.tune_sampler(config, workdir, request, budget)


def _ablate(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.experiments import ablate

    return ablate.ablate(config, workdir, num_scored(command), weights_of(command))


def _export(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.serving import export

    directory = export_directory(command, workdir)
    step = _step(command, workdir)
    return export.export(config, workdir, directory, command.max_samples, weights_of(command), step)


def _report(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.report import pages

    return pages.report(config, workdir, command.compare, command.num_samples)


def _app(command: Command, config: Config, workdir: str) -> Result:
    from drl_tf.app import server

    # The app draws with the options of the model.
    server.serve(workdir, command.port, {name: getattr(config.data, name) for name in LOCAL_PATHS})
    return None


FUNCTIONS: dict[str, Callable[[Command, Config, str], Result]] = {
    'import_official': _import_official,
    'prepare': _prepare,
    'train': _train,
    'sample': _sample,
    'compose': _compose,
    'inpaint': _inpaint,
    'restore': _restore,
    'edit': _edit,
    'interpolate': _interpolate,
    'stats': _stats,
    'evaluate': _evaluate,
    'likelihood': _likelihood,
    'score': _score,
    'ood': _ood,
    'density': _density,
    'long_run': _long_run,
    'sweep_steps': _sweep_steps,
    'sweep_guidance': _sweep_guidance,
    'sweep_chains': _sweep_chains,
    'tune_sampler': _tune_sampler,
    'ablate': _ablate,
    'export': _export,
    'report': _report,
    'app': _app,
}

# Modes that only the chief (the first worker) runs.
OF_CHIEF = {
    'import_official', 'prepare', 'inpaint', 'restore', 'edit', 'interpolate', 'likelihood', 'score', 'ood',
    'density', 'long_run', 'export', 'report', 'app',
}  # fmt: skip


def _request(command: Command, config: Config, workdir: str, **classes: Any) -> SampleRequest:
    """Returns a request for the images that the options ask to sample."""
    count = command.num_samples or _default_samples(config)
    return _samples(command, config, workdir, count, first=command.first_sample, **classes)


def _scored(command: Command, config: Config, workdir: str) -> SampleRequest:
    """Returns a request for the images that the options ask to score."""
    return _samples(command, config, workdir, num_scored(command))


def _samples(command: Command, config: Config, workdir: str, count: int, **changes: Any) -> SampleRequest:
    """Returns a request for `count` images from the weights and the checkpoint that the options name."""
    step = _step(command, workdir)
    return SampleRequest.of(config, count, weights=weights_of(command), step=step, **changes)


def _step(command: Command, workdir: str) -> int | None:
    """Returns the step of the checkpoint to use, None for the newest. All workers call this together."""
    if command.best:
        return chief.only(checkpoint.best_step)(workdir)
    return None if command.checkpoint_step < 0 else command.checkpoint_step


def _default_samples(config: Config) -> int:
    """Returns how many images to sample if --num_samples is 0."""
    if config.planar:
        return 10_000
    return 100 if config.data.num_classes else 64
