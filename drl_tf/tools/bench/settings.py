"""The settings of the benchmarks, and the configurations to measure."""

import dataclasses
import os
from collections.abc import Sequence

from drl_tf.base.errors import UserError
from drl_tf.cli import parsing
from drl_tf.config.config import Config

PRECISIONS = ('float32', 'bfloat16')


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the benchmarks measure, and how often.

    The benchmarks have parts, such as `start` (how long commands take to start), `memory` (peak memory) and
    `growth` (how the cost grows).

    Attributes:
      presets: option strings of `run.py`, such as '--dataset=digits --recipe=t6'.
      base: the option string whose configuration two parts vary. `memory` varies K (chain steps) and T
        (noise levels); `growth` varies K, T, batch size, pixels and channels.
      precisions: values of --precision.
      rounds: number of measurements of each time in parts such as `growth`.
      repeats: number of measurements of each process in part `start`, which starts it anew each time.
      steps: number of training steps in part `start`.
      factors: factors by which `growth` and `memory` multiply one of these quantities at a time.
      directory: directory for the results.
    """

    presets: tuple[str, ...]
    base: str
    precisions: tuple[str, ...]
    rounds: int
    repeats: int
    steps: int
    factors: tuple[int, ...]
    directory: str


def with_images(config: Config, directory: str | os.PathLike[str]) -> Config:
    """Prepares images for a configuration, without a download, and returns the configuration to train with.

    The datasets of presets that would have to be downloaded are replaced by crops of photographs in installed
    packages, in the same format. Others, such as digits and the user's own, keep their pictures.

    Args:
      config: the configuration.
      directory: directory for the images that must be written; training reads them there.
    """
    from drl_tf.data import pipeline
    from drl_tf.tools.bench import input_speed

    data = input_speed.on_disk(config.data, directory)
    if config.network.energy == 'preconditioned' and not data.data_std:
        mean, std = pipeline.mean_and_std(data)
        data = dataclasses.replace(data, data_mean=mean, data_std=std)
    return dataclasses.replace(config, data=data)


def configurations(settings: Settings, directory: str | os.PathLike[str]) -> dict[str, Config]:
    """Returns the configurations to measure, {'<preset>, <precision>': configuration}.

    Args:
      settings: the settings of the benchmarks, with the presets and the precisions.
      directory: directory to which the images of the datasets are written.
    """
    from drl_tf.distributed import devices

    precisions = dict.fromkeys(map(devices.resolve_precision, settings.precisions))
    found = {}
    for preset in settings.presets:
        config = with_images(parsing.configuration_of(preset.split()), directory)
        config = config.replace(microbatches=1)
        for precision in precisions:
            found[f'{preset}, {precision}'] = config.replace(precision=precision)
    return found


def precisions_of(text: str) -> tuple[str, ...]:
    """Parses the value of --precisions, such as 'float32,bfloat16'.

    Raises:
      UserError: a precision is neither 'float32' nor 'bfloat16'.

    Examples:
      >>> precisions_of('float32,bfloat16')
      ('float32', 'bfloat16')
    """
    names = tuple(text.split(','))
    if not set(names) <= set(PRECISIONS):
        raise UserError(f'--precisions={text} must name {", ".join(PRECISIONS)}, comma-separated')
    return names


def whole_numbers(flag: str, text: str) -> tuple[int, ...]:
    """Parses whole numbers, 1 or more, with commas between, such as '1,2,4'.

    Args:
      flag: name of the option that has the value `text`, for the error message.
      text: the value.

    Raises:
      UserError: a part is no whole number, or below 1.

    Examples:
      >>> whole_numbers('--factors', '1,2,4')
      (1, 2, 4)
    """
    parts: Sequence[str] = text.split(',')
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise UserError(f'{flag}={text} must be whole numbers of at least 1, comma-separated')
    return tuple(map(int, parts))
