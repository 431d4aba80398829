"""Runs the modes that compute densities and scores of images, or long chains."""

from drl_tf.cli.command_options import Command
from drl_tf.config import combinations
from drl_tf.config.config import Config
from drl_tf.distributed import workers


def likelihood(command: Command, config: Config, workdir: str, step: int | None) -> dict[str, str]:
    """Runs `likelihood`; returns {label: text} to print."""
    from drl_tf.experiments import direct_likelihood, likelihood

    if (command.method or combinations.likelihood_method(config)) == 'direct':
        return workers.by_chief(lambda: direct_likelihood.likelihood(config, workdir, command.weights, step))
    effort = (command.num_chains or 64, command.ais_steps, command.hmc_leapfrog)
    return workers.by_chief(lambda: likelihood.likelihood(config, workdir, *effort, command.weights, step))


def long_run(command: Command, config: Config, workdir: str, step: int | None) -> dict[str, str]:
    """Runs `long_run`; returns {label: text} to print."""
    from drl_tf.experiments import long_run

    chains = (command.chain_levels, command.chain_method, command.num_chains or 100, command.hmc_leapfrog)
    plan = long_run.Plan(*chains, command.chain_burn_in, command.chain_steps, command.chain_minutes)
    return workers.by_chief(lambda: long_run.long_run(config, workdir, plan, command.weights, step))


def score(command: Command, config: Config, workdir: str, step: int | None) -> dict[str, str]:
    """Runs `score`; returns {label: text} to print."""
    from drl_tf.experiments import score

    plan = score.Plan(command.input, command.output_dir, command.save_images)
    return workers.by_chief(lambda: score.score(config, workdir, plan, command.weights, step))


def ood(command: Command, config: Config, workdir: str, step: int | None) -> dict[str, str]:
    """Runs `ood`; returns {label: text} to print."""
    from drl_tf.experiments import ood

    plan = ood.Plan(command.ood, command.background, command.output_dir)
    return workers.by_chief(lambda: ood.ood(config, workdir, plan, command.weights, step))
