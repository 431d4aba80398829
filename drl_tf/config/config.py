"""The configuration of a run: frozen, validated once, stored as `config.json` in the workdir."""

import dataclasses
import glob
import os

from absl import logging

from drl_tf.base.errors import UserError
from drl_tf.base.files import read_json, write_json
from drl_tf.config import combinations
from drl_tf.config.model_options import Diffusion, Initializer, Network
from drl_tf.config.option_fields import check, text
from drl_tf.config.options import Data, Evaluation, Sampling, Training

FILE_NAME = 'config.json'


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a run is a function of, by group.

    Raises:
      UserError: an option is out of its bounds, or two do not go together.
    """

    data: Data = dataclasses.field(default_factory=Data)
    network: Network = dataclasses.field(default_factory=Network)
    diffusion: Diffusion = dataclasses.field(default_factory=Diffusion)
    initializer: Initializer = dataclasses.field(default_factory=Initializer)
    training: Training = dataclasses.field(default_factory=Training)
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)

    def __post_init__(self):
        for group in groups():
            check(getattr(self, group.name))
        if self.diffusion.energy_scale == 'auto':
            scale = 'step' if any(self.diffusion.mcmc_steps) else 'noise'
            object.__setattr__(self, 'diffusion', dataclasses.replace(self.diffusion, energy_scale=scale))
        combinations.check(self)

    @property
    def image_shape(self):
        """[H, W, C] of one image."""
        return (self.data.image_size, self.data.image_size, self.data.image_channels)

    @property
    def planar(self):
        """Whether the images are points of the plane, see `data.plane`."""
        return self.image_shape == (1, 1, 2)

    @property
    def steps_by_level(self):
        """K of each level, list of T ints."""
        steps = self.diffusion.mcmc_steps
        return list(steps) * (self.diffusion.num_levels if len(steps) == 1 else 1)

    def options(self):
        """Yields (field, value) for every option of every group."""
        for group in groups():
            values = getattr(self, group.name)
            for field in dataclasses.fields(values):
                yield field, getattr(values, field.name)

    def replace(self, **values):
        """A copy with the named options changed, whichever group they are in."""
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

    def differences(self, other, compared):
        """The options that differ between two runs, side by side.

        Args:
          other: a `Config`.
          compared: callable, dataclass field -> whether a difference in it counts.

        Returns:
          A list of texts '--option=mine here, theirs there'.
        """
        pairs = zip(self.options(), other.options(), strict=True)
        return [
            f'--{field.name}={text(mine)} here, {text(theirs)} there'
            for (field, mine), (_, theirs) in pairs
            if mine != theirs and compared(field)
        ]

    def save(self, workdir):
        """Writes `config.json`, aside and renamed."""
        write_json(os.path.join(workdir, FILE_NAME), dataclasses.asdict(self))


def exists(workdir):
    """Whether a directory holds the configuration of a run."""
    return os.path.exists(os.path.join(workdir, FILE_NAME))


def groups():
    """The dataclass fields of `Config`, one per group of options."""
    return dataclasses.fields(Config)


def load(workdir):
    """Reads the configuration of a run; where its file is damaged, the copy in its newest checkpoint, with a
    warning.

    Args:
      workdir: the directory of the run.

    Raises:
      UserError: there is no such directory or file, it and all copies are damaged, or it agrees with no copy.
    """
    copies = sorted(
        glob.glob(os.path.join(glob.escape(workdir), 'checkpoints', '[0-9]*', FILE_NAME)), reverse=True
    )
    paths = [path for path in (os.path.join(workdir, FILE_NAME), *copies) if os.path.exists(path)]
    if not paths:
        raise UserError(
            f'--workdir={workdir} holds no {FILE_NAME}: give the directory of a run that was trained'
        )
    sound, problems = {}, []
    for path in paths:
        try:
            sound[path] = _read(path)
        except UserError as error:
            problems.append(error)
    if not sound:
        raise problems[-1]
    (path, config), *others = sound.items()
    if path != paths[0]:
        logging.warning('%s; taking the copy in the newest checkpoint', problems[0])
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


def _read(path):
    try:
        stored = {'evaluation': {}, **read_json(path)}
        types = {group.name: group.type for group in groups()}
        if stored.keys() != types.keys():
            raise ValueError(f'unknown or missing: {", ".join(sorted(stored.keys() ^ types.keys()))}')
        return Config(**{name: types[name](**_tuples(values)) for name, values in stored.items()})
    except (UserError, OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f'{path} is damaged ({error}): restore it, or train in another --workdir') from error


def _tuples(values):
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
