"""The configuration of a run, stored as `config.json` in the run's directory."""

import dataclasses
import glob
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from absl import logging

from drl_tf.base import arguments
from drl_tf.base.errors import UserError
from drl_tf.base.files import read_json, write_json
from drl_tf.config import chains, combinations
from drl_tf.config.data_options import LOCAL_PATHS, Data, published
from drl_tf.config.model_options import Diffusion, Initializer, Network
from drl_tf.config.option_fields import check, text
from drl_tf.config.sampling_options import Evaluation, Sampling
from drl_tf.config.training_options import Training

FILE_NAME = 'config.json'


@dataclasses.dataclass(frozen=True)
class Config:
    """All options that decide the result of a run, in groups such as `data` and `training`.

    The constructor and `replace` check the options. `replace` takes the options of all groups by name; its
    errors name them 'seed=x', those of the constructor '--seed=x', as on the command line.

    Attributes:
      data: the dataset and its image size.
      network: the energy network.
      diffusion: the noise levels, and the Langevin chains of training.
      initializer: the network that proposes the start of chains, with the option `initializer`.
      training: the objective, the number of steps, the batch size and the optimizer.
      sampling: how samples are drawn.
      evaluation: how samples are compared with real images.

    Raises:
      UserError: an option is out of bounds, or two options contradict each other.

    Example:
      Config().replace(image_size=16, image_channels=1, batch_size=64)
    """

    data: Data = dataclasses.field(default_factory=Data)
    network: Network = dataclasses.field(default_factory=Network)
    diffusion: Diffusion = dataclasses.field(default_factory=Diffusion)
    initializer: Initializer = dataclasses.field(default_factory=Initializer)
    training: Training = dataclasses.field(default_factory=Training)
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)

    def __post_init__(self) -> None:
        for group in groups():
            check(getattr(self, group.name))
        if self.diffusion.energy_scale == 'auto':
            scale = 'step' if any(self.diffusion.mcmc_steps) else 'noise'
            object.__setattr__(self, 'diffusion', dataclasses.replace(self.diffusion, energy_scale=scale))
        combinations.check(self)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        return self.data.image_shape

    @property
    def planar(self) -> bool:
        """Whether the data are points of the plane: images of one pixel with two channels."""
        return self.image_shape == (1, 1, 2)

    @property
    def steps_by_level(self) -> list[int]:
        """Number of chain steps in training at each of the T noise levels, lowest noise first.

        The option `mcmc_steps` gives the numbers: one for all levels, or one for each.
        """
        steps = self.diffusion.mcmc_steps
        if len(steps) == 1:
            return list(steps) * self.diffusion.num_levels
        return list(steps)

    @property
    def sampling_steps_by_level(self) -> list[int]:
        """Number of chain steps in sampling at each of the T noise levels, lowest noise first.

        The option `sampling_steps` gives the numbers; if it is empty, the option `mcmc_steps` does.
        """
        steps = self.sampling.sampling_steps
        if not steps:
            return self.steps_by_level
        return list(steps) * self.diffusion.num_levels if len(steps) == 1 else list(steps)

    @property
    def negatives(self) -> str:
        """Kind of the chains that draw negatives (samples of the model) in training.

        With energy='preconditioned' it is 'langevin', 'mala' (Langevin steps with acceptance) or 'hmc'
        (Hamiltonian Monte Carlo). It is 'none' if training uses no negatives, and for energy='paper', where
        there is only one kind of chains.
        """
        return chains.negatives_of(self)

    @property
    def corrector(self) -> str:
        """Kind of the chains that correct the samples at each noise level when images are drawn.

        'none', 'langevin', 'mala' (Langevin steps with acceptance) or 'hmc' (Hamiltonian Monte Carlo).
        """
        return chains.corrector_of(self)

    def options(self) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
        """Yields a pair (dataclass field, value) for every option of every group."""
        for group in groups():
            values = getattr(self, group.name)
            for field in dataclasses.fields(values):
                yield field, getattr(values, field.name)

    def replace(self, **values: Any) -> 'Config':
        """Returns a copy with new values of some options, of any group.

        Args:
          **values: {option: new value}.

        Raises:
          TypeError: there is no such option.
          UserError: an option is out of bounds, or two options contradict each other.
        """
        with arguments.named():
            return self.with_flags(**values)

    def with_flags(self, **values: Any) -> 'Config':
        """Like `replace`, for values from the command line: an error names '--seed' instead of 'seed'."""
        changed = {}
        for group in groups():
            old = getattr(self, group.name)
            mine = {
                field.name: values.pop(field.name)
                for field in dataclasses.fields(old)
                if field.name in values
            }
            changed[group.name] = dataclasses.replace(old, **mine)
        if values:
            raise TypeError(f'no such option: {", ".join(values)}')
        return Config(**changed)

    def get_config(self) -> dict[str, Any]:
        """Returns the options as JSON values, {group: {option: value}}."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> 'Config':
        """Builds a configuration from the dict that `get_config` returns.

        Args:
          config: {group: {option: value}}; options that are left out have their defaults.

        Raises:
          ValueError: a group is unknown or missing.
          TypeError: an option is unknown.
          UserError: an option is out of bounds, or two options contradict each other.

        Example:
          Config.from_config(Config().get_config()) == Config()
        """
        stored = {'evaluation': {}, **config}
        types: dict[str, Any] = {group.name: group.type for group in groups()}
        if stored.keys() != types.keys():
            raise ValueError(f'unknown or missing: {", ".join(sorted(stored.keys() ^ types.keys()))}')
        return cls(**{name: types[name](**_tuples(values)) for name, values in stored.items()})

    def portable(self) -> 'Config':
        """Returns a copy without local paths and with default evaluation options, to publish with a model."""
        named = self.replace(dataset=published(self.data.dataset), **dict.fromkeys(LOCAL_PATHS, ''))
        return dataclasses.replace(named, evaluation=Evaluation())

    def differences(self, other: 'Config', compared: Callable[[dataclasses.Field[Any]], bool]) -> list[str]:
        """Lists the options in which two configurations differ.

        Args:
          other: the other configuration; its dataset may be the published name of the dataset of this one.
          compared: function of the dataclass field of an option; it returns whether to compare this option.

        Returns:
          One text per option, such as '--batch_size=64 here, 32 there'; `here` is this configuration, `there`
          is `other`.
        """
        pairs = zip(self.options(), other.options(), strict=True)
        return [
            f'--{field.name}={text(mine)} here, {text(theirs)} there'
            for (field, mine), (_, theirs) in pairs
            if theirs not in (mine, published(mine) if field.name == 'dataset' else mine) and compared(field)
        ]

    def save(self, workdir: str | os.PathLike[str]) -> None:
        """Writes the configuration to `config.json` in a directory."""
        write_json(os.path.join(workdir, FILE_NAME), dataclasses.asdict(self))


def exists(workdir: str | os.PathLike[str]) -> bool:
    """Returns whether a directory holds a `config.json`."""
    return os.path.exists(os.path.join(workdir, FILE_NAME))


def groups() -> tuple[Any, ...]:
    """Returns the dataclass fields of `Config`, one for each group of options.

    The `name` of a field is the name of the group, such as 'data'. Its `type` is the dataclass of the group,
    such as `Data`, whose own fields are the options.
    """
    return dataclasses.fields(Config)


def measured(config: Config) -> dict[str, Any]:
    """Returns the options that training fills in after looking at its images, such as their mean.

    Returns:
      A dict of three options, which have their defaults before training:

      - 'data_mean': mean of the images in [-1, 1], one number or one per channel.
      - 'data_std': standard deviation of the images in [-1, 1].
      - 'exact_images': number of images that define the density of --energy=exact; 0 for other energies.

    Examples:
      >>> from drl_tf.config.config import Config, measured
      >>> measured(Config().replace(data_mean=(0.1,), data_std=0.5))
      {'data_mean': (0.1,), 'data_std': 0.5, 'exact_images': 0}
    """
    return {name: getattr(config.data, name) for name in ('data_mean', 'data_std', 'exact_images')}


def load(workdir: str | os.PathLike[str]) -> Config:
    """Reads the configuration of a run.

    If `config.json` is damaged, the newest undamaged copy in a checkpoint is read, with a warning.

    Args:
      workdir: directory of the run.

    Raises:
      UserError: there is neither a file nor a copy; all of them are damaged; or the file contradicts all
        copies.
    """
    paths = _paths(workdir)
    sound = {}
    problems = []
    for path in paths:
        try:
            sound[path] = _read(path)
        except UserError as error:
            problems.append(error)
    if not sound:
        raise problems[-1]
    (path, config), *others = sound.items()
    if path != paths[0]:
        logging.warning('%s; using the copy in the newest checkpoint', problems[0])
        return config
    differing = [
        config.differences(other, lambda field: field.metadata['changes'] in ('never', 'sampling'))
        for _, other in others
    ]
    if differing and all(differing):
        raise UserError(
            f'{path} is not that of the run: {"; ".join(differing[0])}, in {others[0][0]}: copy that file '
            'over it'
        )
    return config


def _paths(workdir: str | os.PathLike[str]) -> list[str]:
    """Returns the path of `config.json`, then the paths of the copies in the checkpoints, newest first.

    Raises:
      UserError: none of these files exists.
    """
    own = os.path.join(workdir, FILE_NAME)
    pattern = os.path.join(glob.escape(os.fspath(workdir)), 'checkpoints', '[0-9]*', FILE_NAME)
    copies = sorted(glob.glob(pattern), reverse=True)
    paths = [path for path in (own, *copies) if os.path.exists(path)]
    if not paths:
        raise UserError(
            f'--workdir={workdir} holds no {FILE_NAME}: give the directory of a run that was trained'
        )
    return paths


def _read(path: str) -> Config:
    """Reads a configuration; raises UserError if the file is damaged."""
    try:
        return Config.from_config(read_json(path))
    except (UserError, OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f'{path} is damaged ({error}): restore it, or train in another --workdir') from error


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Turns lists, which JSON has in place of tuples, back into tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
