"""Checks that options do not contradict each other."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from drl_tf.base.errors import UserError
from drl_tf.config import chains, objectives
from drl_tf.config.data_options import DIGITS
from drl_tf.config.option_fields import text
from drl_tf.config.sampling_options import EXTRACTORS

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.config.data_options import Data

# Numbers of steps that must be multiples of the option `steps_per_execution`.
_PERIODS = ('train_steps', 'log_every', 'checkpoint_every', 'grid_every', 'evaluate_every')


def check(config: Config) -> None:
    """Checks a configuration; raises UserError if two options contradict each other."""
    if config.planar:
        _check_planar(config)
    means = len(config.data.data_mean)
    if means not in (0, 1, config.data.image_channels):
        raise UserError(
            f'--data_mean={text(config.data.data_mean)} has {means} numbers: give one, or one for each of '
            f'{config.data.image_channels} channels'
        )
    _check_resolutions(config)
    _check_networks(config)
    chains.check(config)
    objectives.check(config)
    _check_steps(config)


def likelihood_method(config: Config) -> str:
    """Returns the default --method of --mode=likelihood, 'direct' or 'ais'; both estimate log Z.

    'direct' estimates log Z from noisy images. It is the default of models trained with
    --energy=preconditioned and --levels=continuous. 'ais' estimates log Z by annealing. It is the default of
    all other models.
    """
    return 'direct' if chains.has_learnt_levels(config) else 'ais'


def check_likelihood(config: Config, method: str) -> None:
    """Checks that a model allows a --method of --mode=likelihood; raises UserError if not.

    Args:
      config: the configuration of the model.
      method: 'direct' (log Z from noisy images), which needs --energy=preconditioned and --levels=continuous,
        or 'ais' (log Z by annealing), which is always accepted here.
    """
    if method != 'direct':
        return
    if config.network.energy != 'preconditioned':
        raise UserError('--method=direct needs --energy=preconditioned: give --method=ais')
    if config.training.levels != 'continuous':
        raise UserError(
            f'--method=direct needs energies between the noise levels; --levels={config.training.levels} '
            'trained none: give --method=ais, or train with --levels=continuous'
        )


def check_energies(config: Config, mode: str) -> None:
    """Checks that the energy of an image does not depend on other images; raises UserError if it does.

    With batch normalisation (--norm=batch), the energy of an image depends on all images of the batch.

    Args:
      config: the configuration of the model.
      mode: the value of --mode, for the message.
    """
    if config.network.norm == 'batch':
        raise UserError(
            f'--mode={mode}: --norm=batch gives no density of an image; train with another --norm'
        )


def check_exportable(config: Config) -> None:
    """Checks that a model can be exported; raises UserError for batch normalisation (--norm=batch).

    With batch normalisation, the result for an image would depend on the other images of the same request.
    """
    if config.network.norm == 'batch':
        raise UserError(
            '--norm=batch cannot be exported: each image would depend on the other images of its request'
        )


def check_classes(config: Config, classes: Iterable[int]) -> None:
    """Checks that a model has all the classes that a user asks for; raises UserError if not.

    Args:
      config: the configuration of the model.
      classes: the class numbers to check; the first class of a model is 0.
    """
    count = config.data.num_classes
    for wanted in classes:
        if not count:
            raise UserError(f'--labels={wanted}: the model has no classes; train one with --num_classes=-1')
        if not 0 <= wanted < count:
            raise UserError(f'--labels={wanted} must be from 0 to {count - 1}')


def check_replicas(config: Config, replicas: int) -> None:
    """Checks that `replicas` devices can share a batch; raises UserError if not.

    With batch normalisation, the images of a batch depend on each other, so one device must have them all.

    Args:
      config: the configuration of the model.
      replicas: number of devices.
    """
    if replicas > 1 and config.network.norm == 'batch':
        raise UserError(
            f'--norm=batch ties the images of a batch together, so {replicas} devices cannot share it: give '
            '--strategy=one, or train with another --norm'
        )


def check_batch_size(config: Config, replicas: int) -> None:
    """Checks that `replicas` devices can share a training batch evenly; raises UserError if not.

    Args:
      config: the configuration of the run.
      replicas: number of devices.
    """
    options = config.training
    if options.batch_size % (replicas * options.microbatches):
        raise UserError(
            f'--batch_size={options.batch_size} must be a multiple of {replicas} devices times '
            f'--microbatches={options.microbatches}'
        )


def check_guidance(config: Config) -> None:
    """Checks that a model has classes, for --mode=sweep_guidance; raises UserError if not."""
    if not config.data.num_classes:
        raise UserError('--mode=sweep_guidance: the model has no classes; train one with --num_classes=-1')


def extractor_of(data: Data, name: str, inception: str) -> str:
    """Returns the name of the extractor: `name`, or the default for the dataset if `name` is ''."""
    return name or ('inception' if inception or data.dataset not in DIGITS else 'digits_classifier')


def check_extractor(data: Data, name: str, inception: str) -> None:
    """Checks the choice of an extractor, the network that turns images into features for comparison.

    Args:
      data: options of the dataset, with its image size and channels.
      name: 'inception', 'digits_classifier', 'efficientnet_lite0', or the path of a SavedModel or a `.keras`
        file; '': the default for the dataset.
      inception: the value of --inception, the directory of an Inception network as a SavedModel; '': none.

    Raises:
      UserError: the extractor is unknown or missing, or does not fit the images.
    """
    name = extractor_of(data, name, inception)
    if inception and name != 'inception':
        raise UserError(
            f'--inception={inception} goes with --extractor=inception, not with {name}: drop one of them'
        )
    if inception and not os.path.isdir(inception):
        raise UserError(f'--inception={inception} must be the directory of a SavedModel')
    if name == 'digits_classifier' and data.image_channels != 1:
        raise UserError(
            f'--extractor={name} takes grey images; these have {data.image_channels} channels: give another '
            '--extractor'
        )
    if name not in EXTRACTORS and not os.path.exists(name):
        raise UserError(
            f'--extractor={name} must be one of {", ".join(EXTRACTORS)}, the directory of a SavedModel or a '
            '.keras file'
        )


def _check_resolutions(config: Config) -> None:
    """Raises UserError if height or width of the images cannot be halved as often as the networks do it."""
    sizes = {'image_size': config.data.image_size, 'image_width': config.data.image_width}
    multiples = {'channel_mult': config.network.channel_mult}
    if config.diffusion.initializer:
        multiples['initializer_mult'] = config.initializer.initializer_mult
    for name, mult in multiples.items():
        halvings = len(mult) - 1
        for side, size in sizes.items():
            if size % 2**halvings:
                raise UserError(
                    f'--{side}={size} must be a multiple of 2^{halvings}: --{name} halves it {halvings} times'
                )
    for side, size in sizes.items():
        if size % 2 and not config.planar:
            raise UserError(f'--{side}={size} must be even')


def _check_networks(config: Config) -> None:
    """Raises UserError if the networks cannot be built or sampled from."""
    channels = config.network.channels
    if channels % 2:
        raise UserError(
            f'--channels={channels} must be even: half of the time embedding are sines, half are cosines'
        )
    if config.initializer.initializer_channels % 4:
        raise UserError(
            f'--initializer_channels={config.initializer.initializer_channels} must be a multiple of 4'
        )
    if config.sampling.guidance and not config.data.num_classes:
        raise UserError(
            f'--guidance={config.sampling.guidance}: the model has no classes; train one with '
            '--num_classes=-1'
        )
    if config.network.norm == 'group' and channels % 32:
        raise UserError(f'--channels={channels} must be a multiple of 32 for --norm=group')


def _check_planar(config: Config) -> None:
    """Raises UserError if a model of points of the plane has an option that only suits images."""
    dataset = config.data.dataset
    if config.network.energy == 'exact':
        raise UserError(f'--energy=exact needs training images; --dataset={dataset} draws its points anew')
    defaults = type(config.network)()
    for name in ('attention', 'norm', 'conv_downsample', 'conv_shortcut'):
        if getattr(config.network, name) != getattr(defaults, name):
            raise UserError(f'--{name} is for networks of images, not for --dataset={dataset}: drop it')
    if len(config.network.channel_mult) > 1:
        raise UserError(
            f'--channel_mult={text(config.network.channel_mult)} must be one number for --dataset={dataset}'
        )
    if config.diffusion.initializer:
        raise UserError(
            f'--initializer is a network of images, not for --dataset={dataset}: give --recipe=t6'
        )


def _check_steps(config: Config) -> None:
    """Raises UserError if steps cannot be counted, split into microbatches, or taken several at a time."""
    options = config.training
    if not options.train_steps and config.planar:
        raise UserError(
            '--train_steps=0 counts pictures: give a number of steps for the points of '
            f'--dataset={config.data.dataset}'
        )
    parts = options.microbatches
    if options.batch_size % parts:
        raise UserError(f'--batch_size={options.batch_size} must be a multiple of --microbatches={parts}')
    if parts > 1 and config.network.norm == 'batch':
        raise UserError(
            f'--norm=batch ties the images of a batch together: it needs --microbatches=1, not {parts}'
        )
    values = {field.name: value for field, value in config.options()}
    at_once = options.steps_per_execution
    for name in _PERIODS:
        if values[name] % at_once:
            raise UserError(f'--{name}={values[name]} must be a multiple of --steps_per_execution={at_once}')


def steps_at_once(values: Mapping[str, Any]) -> int:
    """Returns how many training steps to run per execution: `steps_per_execution`, lowered if necessary.

    Training stops, logs and saves only between executions. The result is therefore the largest divisor of
    `steps_per_execution` that also divides `train_steps`, `log_every`, `checkpoint_every`, `grid_every` and
    `evaluate_every`. A 0 among them changes nothing.

    Args:
      values: {option: value}, with these six options; others are ignored.

    Examples:
      >>> periods = dict(log_every=100, checkpoint_every=1000, grid_every=0, evaluate_every=0)
      >>> steps_at_once(dict(steps_per_execution=10, train_steps=45, **periods))
      5
    """
    return math.gcd(values['steps_per_execution'], *(values[name] for name in _PERIODS))
