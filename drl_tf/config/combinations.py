"""Options that do not go together."""

import os

from drl_tf.base.errors import UserError
from drl_tf.config.option_fields import text
from drl_tf.config.options import DIGITS, EXTRACTORS


def check(config):
    """Raises UserError where two options of a `Config`, each within its bounds, contradict each other."""
    if config.planar:
        _check_planar(config)
    _check_networks(config)
    _check_levels(config)
    _check_objective(config)
    _check_steps(config)


def likelihood_method(config):
    """How bits per dimension are found where nothing is said."""
    return 'direct' if config.training.levels == 'continuous' else 'ais'


def check_likelihood(config, method):
    """Raises UserError where log Z cannot be found from noisy images."""
    if method != 'direct':
        return
    if config.network.energy != 'preconditioned':
        raise UserError('--method=direct needs --energy=preconditioned: give --method=ais')
    if config.training.levels != 'continuous':
        raise UserError(
            'the energies between the levels, which --method=direct follows, were not taught by '
            f'--levels={config.training.levels}: give --method=ais, or train with --levels=continuous'
        )


def check_energies(config, mode):
    """Raises UserError for modes that need an image to have an energy of its own."""
    if config.network.norm == 'batch':
        raise UserError(
            f'--mode={mode}: --norm=batch gives no density of an image; train with another --norm'
        )


def check_exportable(config):
    """Raises UserError for a model that a server cannot answer requests with."""
    if config.network.norm == 'batch':
        raise UserError('--norm=batch cannot be exported: an image would depend on the others of its request')


def check_classes(config, classes):
    """Raises UserError where the model has no such classes."""
    count = config.data.num_classes
    for wanted in classes:
        if not count:
            raise UserError(f'--labels={wanted}: the model has no classes; train one with --num_classes=-1')
        if not 0 <= wanted < count:
            raise UserError(f'--labels={wanted} must be from 0 to {count - 1}')


def check_replicas(config, replicas):
    """Raises UserError for a model whose images cannot be shared out among several replicas."""
    if replicas > 1 and config.network.norm == 'batch':
        raise UserError(
            f'--norm=batch ties the images of a batch together, which {replicas} devices would share: give '
            '--strategy=one, or train with another --norm'
        )


def check_guidance(config):
    """Raises UserError where guidance is swept and the model has no classes."""
    if not config.data.num_classes:
        raise UserError('--mode=sweep_guidance: the model has no classes; train one with --num_classes=-1')


def check_extractor(data, name, inception):
    """Raises UserError for an extractor that is none, or not for these images.

    Args:
      data: a resolved `Data`.
      name: of the extractor, or its path; '' for the default.
      inception: directory of Inception, or ''.
    """
    name = name or ('inception' if inception or data.dataset not in DIGITS else 'digits_classifier')
    if inception and name != 'inception':
        raise UserError(
            f'--inception={inception} goes with --extractor=inception, not with {name}: drop one of them'
        )
    if inception and not os.path.isdir(inception):
        raise UserError(f'--inception={inception} must be the directory of a SavedModel')
    if name == 'digits_classifier' and data.image_channels != 1:
        raise UserError(
            f'--extractor={name} takes grey images, not those of {data.image_channels} channels: give '
            'another --extractor'
        )
    if name not in EXTRACTORS and not os.path.exists(name):
        raise UserError(
            f'--extractor={name} must be one of {", ".join(EXTRACTORS)}, the directory of a SavedModel or a '
            '.keras file'
        )


def _check_networks(config):
    """Raises UserError for what the networks cannot be built of."""
    size = config.data.image_size
    for name, mult in (
        ('channel_mult', config.network.channel_mult),
        ('initializer_mult', config.initializer.initializer_mult),
    ):
        halvings = len(mult) - 1
        if size % 2**halvings and (name == 'channel_mult' or config.diffusion.initializer):
            raise UserError(
                f'--image_size={size} must divide by 2^{halvings} for the {halvings + 1} resolutions of '
                f'--{name}'
            )
    if size % 2 and not config.planar:
        raise UserError(f'--image_size={size} must be even')
    if config.network.channels % 2:
        raise UserError(
            f'--channels={config.network.channels} must be even: the time embedding has as many sines as '
            'cosines'
        )
    if config.initializer.initializer_channels % 4:
        raise UserError(f'--initializer_channels={config.initializer.initializer_channels} must divide by 4')
    if config.sampling.guidance and not config.data.num_classes:
        raise UserError(
            f'--guidance={config.sampling.guidance}: the model has no classes; train one with '
            '--num_classes=-1'
        )
    if len(config.diffusion.mcmc_steps) not in (1, config.diffusion.num_levels):
        given, levels = text(config.diffusion.mcmc_steps), config.diffusion.num_levels
        raise UserError(f'--mcmc_steps={given} must be one number, or one for each of --num_levels={levels}')
    if config.network.norm == 'group' and config.network.channels % 32:
        raise UserError(f'--channels={config.network.channels} must divide by 32 for --norm=group')


def _check_planar(config):
    """Raises UserError for what only networks of images read."""
    defaults = type(config.network)()
    for name in ('attention', 'norm', 'conv_downsample', 'conv_shortcut'):
        if getattr(config.network, name) != getattr(defaults, name):
            raise UserError(
                f'--{name} is for networks of images, not for --dataset={config.data.dataset}: drop it'
            )
    if len(config.network.channel_mult) > 1:
        raise UserError(
            f'--channel_mult={text(config.network.channel_mult)} must be one number for '
            f'--dataset={config.data.dataset}'
        )
    if config.diffusion.initializer:
        raise UserError(
            f'--initializer is a network of images, not for --dataset={config.data.dataset}: give --recipe=t6'
        )


def _check_levels(config):
    """Raises UserError for what the schedule, K and the levels that are visited do not allow each other."""
    options, steps, visited = (
        config.diffusion,
        text(config.diffusion.mcmc_steps),
        config.sampling.sampling_levels,
    )
    if options.schedule == 't6' and options.num_levels > 500:
        raise UserError(f'--num_levels={options.num_levels} must be at most 500 for --schedule=t6')
    if visited > options.num_levels:
        raise UserError(f'--sampling_levels={visited} must be at most --num_levels={options.num_levels}')
    if visited not in (0, options.num_levels) and options.initializer:
        raise UserError(
            f'--sampling_levels={visited}: the initializer proposes from one level to the next; drop one of '
            'the two'
        )
    if options.proposal == 'tweedie':
        if options.initializer:
            raise UserError('--proposal=tweedie takes the place of --initializer: drop one of the two')
        return
    if all(options.mcmc_steps):
        return
    if any(options.mcmc_steps):
        raise UserError(f'--mcmc_steps={steps} must be 0 at all levels, or at none')
    if options.schedule != 't1k':
        raise UserError(
            f'--mcmc_steps=0 needs --schedule=t1k: the top level of {options.schedule} is tethered to nothing'
        )
    if options.initializer:
        raise UserError('--mcmc_steps=0 leaves --initializer without a chain to start: drop one of the two')
    if config.sampling.step_scale != 1:
        raise UserError(
            f'--step_scale={config.sampling.step_scale} is for Langevin steps; --mcmc_steps=0 has none'
        )


def _check_objective(config):
    """Raises UserError for what denoising score matching cannot be combined with."""
    options, network = config.training, config.network
    _check_preconditioned(options, network)
    if options.objective != 'dsm':
        return
    if network.act == 'lrelu':
        raise UserError(
            '--objective=dsm needs --act=swish: the second derivative of lrelu is zero almost everywhere'
        )
    if options.shared_noise:
        raise UserError('--objective=dsm needs x_{t+1} made from x_t: drop --shared_noise (--noshared_noise)')
    if config.diffusion.schedule != 't1k':
        raise UserError(
            f'--objective=dsm needs --schedule=t1k: the top level of {config.diffusion.schedule} is '
            'tethered to nothing'
        )
    if config.diffusion.initializer:
        raise UserError(
            '--objective=dsm runs no chains, from whose ends --initializer learns: drop one of the two'
        )
    if options.energy_l2:
        raise UserError(
            f'--energy_l2={options.energy_l2:g} steadies the contrastive loss; --objective=dsm needs it to '
            'be 0'
        )
    if options.remat:
        raise UserError(
            '--remat recomputes for one gradient, --objective=dsm takes a gradient of a gradient: drop one '
            'of the two'
        )


def _check_preconditioned(options, network):
    """Raises UserError for what preconditioned energies and score matching cannot be combined with."""
    matches_scores = options.objective == 'score_matching'
    if matches_scores != (network.energy == 'preconditioned'):
        raise UserError(
            f'--energy={network.energy} does not go with --objective={options.objective}: '
            '--energy=preconditioned and --objective=score_matching need each other'
        )
    if network.network == 'unet' and network.energy != 'preconditioned':
        raise UserError('--network=unet needs --energy=preconditioned')
    if options.time_score and not matches_scores:
        raise UserError(f'--time_score={options.time_score:g} needs --objective=score_matching')
    if not matches_scores:
        return
    if network.act == 'lrelu' and network.network == 'resnet':
        raise UserError(
            '--objective=score_matching needs --act=swish: the second derivative of lrelu is zero almost '
            'everywhere'
        )
    if options.remat:
        raise UserError(
            '--remat recomputes for one gradient, --objective=score_matching takes a gradient of a gradient: '
            'drop one of the two'
        )


def _check_steps(config):
    """Raises UserError where the steps cannot be taken in parts, or several at a time."""
    options, parts = config.training, config.training.microbatches
    if options.batch_size % parts:
        raise UserError(f'--batch_size={options.batch_size} must divide by --microbatches={parts}')
    if parts > 1 and config.network.norm == 'batch':
        raise UserError(
            f'--norm=batch ties the images of a batch together: it needs --microbatches=1, not {parts}'
        )
    periods = {
        name: getattr(options, name)
        for name in ('train_steps', 'log_every', 'checkpoint_every', 'grid_every')
    }
    for name, steps in {**periods, 'evaluate_every': config.evaluation.evaluate_every}.items():
        if steps % options.steps_per_execution:
            raise UserError(
                f'--{name}={steps} must divide by --steps_per_execution={options.steps_per_execution}'
            )
