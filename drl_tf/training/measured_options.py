"""The options that the training images decide: mean and deviation of the pixels, and the number of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import logging

from drl_tf.config import config as configuration
from drl_tf.data import dataset_table, pipeline
from drl_tf.distributed import chief
from drl_tf.runs import workdirs

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.config.data_options import Data

_EPOCHS = 200  # How often --train_steps=0 takes each picture.
_FEWEST_STEPS = 2_000
_MOST_STEPS = 20_000
_FEW = 500  # Of fewer pictures than these a model is likely to learn copies.


def completed(config: Config, workdir: str, init_from: str | None) -> Config:
    """Returns a configuration with the options that the training images decide.

    These are the mean and standard deviation of the pixels, for --energy=preconditioned, and the number of
    steps, for the user's own pictures with --train_steps=0.

    Args:
      config: the configuration of the command.
      workdir: the run's directory.
      init_from: directory of another run whose weights training starts from; None: none.
    """
    data = config.data
    if config.network.energy == 'preconditioned' and not (data.data_std and data.data_mean):
        mean, std = data_scale(data, workdir, init_from)
        config = config.replace(data_mean=data.data_mean or tuple(mean), data_std=data.data_std or std)
    if not config.training.train_steps or dataset_table.is_own(config.data.dataset):
        chosen = steps_for_pictures(config, workdir)
        config = config.with_flags(**chosen)
    return config


@chief.only
def data_scale(data: Data, workdir: str, init_from: str | None) -> tuple[tuple[float, ...], float]:
    """Returns mean and standard deviation of the pixels of the training images, whose values are in [-1, 1].

    Models with --energy=preconditioned need both numbers. They are read from the configuration of the run in
    `workdir`. If it holds no run, they are read from the configuration of the run in `init_from`. Without
    either run, they are computed from the images.

    Args:
      data: the options of the dataset.
      workdir: the run's directory.
      init_from: directory of another run whose weights training starts from; None: none.

    Returns:
      Pair of the mean of each channel, and one standard deviation of all pixels around these means.
    """
    begun = workdir if workdirs.steps(workdir) else None
    for source in (begun, init_from):
        if source and configuration.exists(source):
            found = configuration.load(source).data
            if found.image_channels == data.image_channels:
                return found.data_mean, found.data_std
    return pipeline.mean_and_std(data)


@chief.only
def steps_for_pictures(config: Config, workdir: str) -> dict[str, int]:
    """Chooses the number of training steps for the user's own pictures; warns of fewer than 500 pictures.

    With --train_steps=0, a new run uses each picture about 200 times, but takes at least 2,000 and at most
    20,000 steps, and a resumed run keeps its former options. Any other --train_steps is left unchanged.

    Args:
      config: the configuration, whose dataset is the user's pictures.
      workdir: the run's directory.

    Returns:
      The options to change in the configuration. {} if --train_steps is above 0. Otherwise, 'train_steps' is
      the number of steps, and 'decay_steps' the step at which the decay of the learning rate ends: in a
      new run, the last step, unless --decay_steps names another.
    """
    count = pipeline.count_images(config.data, 'train')
    if count < _FEW:
        logging.warning(
            'Only %d pictures to train on: the model will learn copies of them; give %d or more for new ones',
            count,
            _FEW,
        )
    options = config.training
    if options.train_steps:
        return {}
    if workdirs.steps(workdir):
        kept = configuration.load(workdir).training
        return {'train_steps': kept.train_steps, 'decay_steps': kept.decay_steps}
    thousands = round(_EPOCHS * count / options.batch_size / 1000)
    steps = min(max(_FEWEST_STEPS, 1000 * thousands), _MOST_STEPS)
    print(f'{steps:,} steps for {count:,} pictures; others: --train_steps=N --decay_steps=N')
    return {'train_steps': steps, 'decay_steps': options.decay_steps or steps}
