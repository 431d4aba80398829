"""Checks that energies, objectives and losses do not contradict each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drl_tf.base.errors import UserError
from drl_tf.config import chains
from drl_tf.config.training_options import LOSSES_OF_HEIGHTS

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.config.model_options import Network
    from drl_tf.config.training_options import Training

# Options that the residual network reads and the UNet does not.
_OF_RESNET = (
    'norm',
    'conv_downsample',
    'conv_shortcut',
    'gain',
    'zero_residual',
    'time_act',
    'output_bias',
)


def check(config: Config) -> None:
    """Checks the options `energy` and `objective`; raises UserError if another option contradicts them."""
    energy = config.network.energy
    if config.diffusion.initializer and energy != 'paper':
        raise UserError(f'--initializer starts the chains of --energy=paper, not of {energy}: drop one')
    if energy == 'exact':
        _check_exact(config)
        return
    if config.data.exact_images:
        raise UserError(
            f'--exact_images={config.data.exact_images} is for --energy=exact: add that, or drop it'
        )
    _check_normalised(config)
    _check_heights(config)
    if config.training.objective == 'dsm':
        _check_dsm(config)


def compares_densities(config: Config) -> bool:
    """Returns whether training compares log densities, and so computes in float32.

    The losses of heights compare them, and so do chains of MALA and HMC, those of sample grids and of
    --evaluate_every included. bfloat16 would change their differences by up to 27 nats at low noise.
    """
    return any(_heights(config.training)) or bool({config.negatives, config.corrector} & {*chains.ADJUSTED})


def hides_no_class(config: Config) -> bool:
    """Returns whether training shows each image with its class, and so trains no energy without a class.

    True for --label_dropout=0, if the model has classes and is trained. Images that have no class themselves
    (label -1) still train that energy.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> config = Config().replace(num_classes=10)
      >>> hides_no_class(config), hides_no_class(config.replace(label_dropout=0.0))
      (False, True)
    """
    return bool(
        config.data.num_classes and not config.training.label_dropout and config.network.energy != 'exact'
    )


def check_new(config: Config) -> None:
    """Checks that options of the UNet, of chains and of losses of heights have an effect in a new run.

    A stored run is not checked: sampling may set its `mcmc_steps` to 0, whatever chains have trained it.

    Args:
      config: the configuration of the new run.

    Raises:
      UserError: an option has no effect.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> check_new(Config().replace(mcmc_steps=(5,)))
    """
    if config.network.network == 'unet':
        for name, value in chains.changed(config.network, *_OF_RESNET):
            given = f'{name}={value}' if isinstance(value, str) else name if value else f'no{name}'
            raise UserError(f'--{given} is for --network=resnet, not unet: drop it')
    if config.negatives != 'none' and not any(config.diffusion.mcmc_steps):
        for name, value in chains.changed(config.training, *chains.OF_NEGATIVES):
            raise UserError(
                f'--{name}={value} is for chains, and --mcmc_steps=0 runs none: give steps, or drop it'
            )
    if config.training.heights_after and not any(_heights(config.training)):
        raise UserError(
            f'--heights_after={config.training.heights_after} needs a weight: give '
            f'{" or ".join(f"--{name}" for name in LOSSES_OF_HEIGHTS)}, or drop it'
        )


def _heights(options: Training) -> list[float]:
    """Returns the weights of the losses of heights."""
    return [getattr(options, name) for name in LOSSES_OF_HEIGHTS]


def _check_exact(config: Config) -> None:
    """Raises UserError if an option asks to train exact energies."""
    for name in ('contrastive', *LOSSES_OF_HEIGHTS):
        if weight := getattr(config.training, name):
            raise UserError(f'--{name}={weight:g} is a loss, and --energy=exact is not trained: drop one')
    if config.evaluation.evaluate_every:
        raise UserError(
            f'--evaluate_every={config.evaluation.evaluate_every} evaluates in training, and --energy=exact '
            'is not trained: give --mode=train,evaluate'
        )


def _check_normalised(config: Config) -> None:
    """Raises UserError if an objective or loss does not go with the energy, preconditioned or not."""
    options = config.training
    network = config.network
    objective = options.objective
    matches_scores = objective == 'score_matching'
    is_preconditioned = network.energy == 'preconditioned'
    if matches_scores != is_preconditioned and (matches_scores or objective == 'dsm'):
        raise UserError(
            f'--energy={network.energy} does not go with --objective={objective}: --energy=preconditioned '
            'takes --objective=score_matching or contrastive, and score_matching takes these energies alone'
        )
    if network.network == 'unet' and not is_preconditioned:
        raise UserError('--network=unet needs --energy=preconditioned')
    for name in (*LOSSES_OF_HEIGHTS, 'contrastive'):
        weight = getattr(options, name)
        if weight and not matches_scores:
            raise UserError(f'--{name}={weight:g} needs --objective=score_matching')
    if options.contrastive_after and not options.contrastive:
        raise UserError(
            f'--contrastive_after={options.contrastive_after} needs a weight: give --contrastive, or drop it'
        )
    if options.levels == 'continuous' and not matches_scores:
        raise UserError(
            '--levels=continuous needs --objective=score_matching: give --levels=walk for another objective'
        )
    if matches_scores:
        _check_second_derivatives(options, network)
    elif is_preconditioned and options.energy_l2:
        raise UserError(
            f'--energy_l2={options.energy_l2:g} is for --energy=paper; it would pull log densities '
            'towards 0: give --energy_l2=0'
        )


def _check_heights(config: Config) -> None:
    """Raises UserError if a loss of heights does not go with the data or the network."""
    options = config.training
    compares = any(_heights(options)) or config.negatives in chains.ADJUSTED
    if compares and config.network.norm == 'batch':
        raise UserError(
            '--norm=batch gives no density of an image, which losses of heights and Metropolis-adjusted '
            'chains compare: give another --norm'
        )
    if options.recovery_off_data and config.planar:
        raise UserError(
            f'--recovery_off_data={options.recovery_off_data:g} changes images; '
            f'--dataset={config.data.dataset} has points: drop it'
        )


def _check_dsm(config: Config) -> None:
    """Raises UserError if another option contradicts --objective=dsm."""
    options = config.training
    _check_second_derivatives(options, config.network)
    if options.shared_noise:
        raise UserError('--objective=dsm needs x_{t+1} made from x_t: drop --shared_noise (--noshared_noise)')
    if config.diffusion.schedule != 't1k':
        raise UserError(
            f'--objective=dsm needs --schedule=t1k: the top level of {config.diffusion.schedule} is not '
            'conditional'
        )
    if config.diffusion.initializer:
        raise UserError(
            '--initializer learns from chains, and --objective=dsm runs none: drop one of the two'
        )
    if options.energy_l2:
        raise UserError(
            f'--energy_l2={options.energy_l2:g} is for --objective=contrastive; --objective=dsm needs it to '
            'be 0'
        )


def _check_second_derivatives(options: Training, network: Network) -> None:
    """Raises UserError if the network lacks the second derivatives that score matching needs."""
    if network.act == 'lrelu' and network.network == 'resnet':
        raise UserError(
            f'--objective={options.objective} needs --act=swish: the second derivative of lrelu is '
            'zero, so that its biases would get no gradient'
        )
