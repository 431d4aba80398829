"""Measures whole processes: the time until a result and the peak memory."""

import dataclasses
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from drl_tf.base.errors import UserError
from drl_tf.cli import parsing
from drl_tf.config.config import Config
from drl_tf.runs import exported
from drl_tf.tools.bench.settings import Settings
from drl_tf.tools.bench.timing import spread

MODEL = 'digits'
_SAMPLES = 64
_LAUNCHER = pathlib.Path(__file__).with_name('launcher.py')


@dataclasses.dataclass(frozen=True)
class Ended:
    """The measurements of a process that has ended.

    Attributes:
      begin: time of the start, in seconds since the epoch.
      seconds: time from start to end.
      peak_bytes: peak memory in bytes.
      out: text that the process wrote to stdout.
    """

    begin: float
    seconds: float
    peak_bytes: int
    out: str


def ended(words: Sequence[str]) -> Ended:
    """Runs Python in a new process, waits for its end, and returns its measurements.

    Args:
      words: arguments of Python.

    Raises:
      UserError: the process failed.

    Examples:
      >>> ended(['-c', 'print(1 + 1)']).out
      '2\\n'
    """
    with tempfile.TemporaryDirectory() as directory:
        notes = pathlib.Path(directory, 'notes.json')
        launch = [sys.executable, str(_LAUNCHER), str(notes), sys.executable]
        done = subprocess.run([*launch, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f'{" ".join(words)} failed: {done.stderr[-500:]}')
        return Ended(**json.loads(notes.read_text()), out=done.stdout)


def start_lines(settings: Settings) -> Iterator[dict[str, Any]]:
    """Measures how long processes take until their first result, and whether training slows down.

    Args:
      settings: the settings of the benchmarks.

    Yields:
      A dict for each result: 'part' (always 'start'), 'name' (such as 'import drl_tf'), 'seconds' and
      'peak_bytes', the largest peak memory of the processes. 'seconds' is a dict with 'median', 'low' and
      'high' (the quartiles) and 'count' (the number of processes).

      One of the results is the time until the first training step of the first preset. Each of these
      processes takes `settings.steps` training steps. The last dict tells whether the steps become slower. In
      place of 'seconds' and 'peak_bytes' it has 'ratio', a dict of the same form as 'seconds': the mean time
      of the steps in the last tenth divided by that of the steps in the second tenth.
    """
    found: dict[str, list[tuple[float, int]]] = {}
    ratios = []
    with tempfile.TemporaryDirectory() as directory:
        for number in range(settings.repeats):
            for measure in (_imports, _commands, _answers):
                for name, took, peak in measure(os.path.join(directory, f'sampled{number}')):
                    found.setdefault(name, []).append((took, peak))
            begin, marks, peak = _trained(
                settings.presets[0], settings.steps, os.path.join(directory, f'train{number}')
            )
            found.setdefault('first training step, from the command on', []).append((marks[0] - begin, peak))
            ratios.append(slowdown(marks))
    for name, pairs in found.items():
        seconds = [each for each, _ in pairs]
        yield {
            'part': 'start',
            'name': name,
            'seconds': dataclasses.asdict(spread(seconds)),
            'peak_bytes': max(peak for _, peak in pairs),
        }
    yield {
        'part': 'start',
        'name': f'step {settings.steps} against step {_early(settings.steps)}',
        'ratio': dataclasses.asdict(spread(ratios)),
    }


def _imports(directory: str) -> Iterator[tuple[str, float, int]]:
    for name, code in (
        ('Python', 'pass'),
        ('import tensorflow', 'import tensorflow'),
        ('import drl_tf', 'import drl_tf'),
        ('import drl_tf.api', 'import drl_tf.api'),
    ):
        done = ended(['-c', code])
        yield name, done.seconds, done.peak_bytes


def _commands(directory: str) -> Iterator[tuple[str, float, int]]:
    done = ended(['-m', 'drl_tf.cli', '--help'])
    yield '--help', done.seconds, done.peak_bytes
    sample = [f'--mode=sample --model={MODEL} --num_samples={_SAMPLES}', f'--workdir={directory}']
    done = ended(['-m', 'drl_tf.cli', *sample[0].split(), sample[1]])
    yield f'{sample[0]}, whole command', done.seconds, done.peak_bytes


def _answers(directory: str) -> Iterator[tuple[str, float, int]]:
    done = ended(['-m', 'drl_tf.tools.bench.child_export', exported.find(MODEL)])
    for name, seconds in json.loads(done.out.splitlines()[-1]).items():
        yield f'export of {MODEL}: {name}', seconds, done.peak_bytes


def _trained(preset: str, steps: int, workdir: str) -> tuple[float, list[float], int]:
    """Trains a preset and samples a batch: returns begin and ends of steps (s), and peak memory (bytes)."""
    words = [
        f'--train_steps={steps}',
        '--steps_per_execution=1',  # A mark for each step.
        '--grid_every=0',
        '--checkpoint_every=1000000',
        '--log_every=1000000',  # A line of the log is no slower step.
        '--max_minutes=0',
    ]
    marks = pathlib.Path(f'{workdir}.json')
    child = ['-m', 'drl_tf.tools.bench.child_training', str(marks)]
    done = ended([*child, *preset.split(), *words, f'--workdir={workdir}'])
    return done.begin, json.loads(marks.read_text()), done.peak_bytes


def _early(steps: int) -> int:
    return max(2, steps // 10)


def slowdown(marks: Sequence[float]) -> float:
    """Returns the mean time of late training steps divided by that of early ones.

    The late steps are the last tenth, the early ones the second tenth.

    Args:
      marks: time in seconds at which each step ended, at least 4 times.

    Examples:
      >>> slowdown([0.0, 1.0, 2.0, 3.0, 5.0])
      2.0
    """
    tenth = max(1, len(marks) // 10)
    first = _early(len(marks)) - 1
    early = (marks[first + tenth] - marks[first]) / tenth
    late = (marks[-1] - marks[-1 - tenth]) / tenth
    return late / early


def memory_lines(settings: Settings) -> Iterator[dict[str, Any]]:
    """Measures the peak memory of processes that take two training steps and sample a batch.

    Args:
      settings: the settings of the benchmarks.

    Yields:
      {'part': 'memory', 'name': .., 'peak_bytes': ..} for each preset, and for `settings.base` with several
      values of K (chain steps) and T (noise levels). The last two dicts have 'ratio' in place of
      'peak_bytes': the largest peak for any K divided by the smallest one, and the same for T.
    """
    preset = settings.base
    config = parsing.configuration_of(preset.split())
    axes: dict[str, tuple[str, int]] = {
        'K': ('mcmc_steps', max(1, *config.steps_by_level)),
        'T': ('num_levels', config.diffusion.num_levels),
    }
    peaks: dict[str, list[int]] = {name: [] for name in axes}
    measured: dict[Config, int] = {}  # All axes have the base in common.
    with tempfile.TemporaryDirectory() as directory:

        def peak_of(words: str) -> int:
            changed = parsing.configuration_of(words.split())
            if changed not in measured:
                measured[changed] = _trained(words, 2, os.path.join(directory, str(len(measured))))[2]
            return measured[changed]

        for words in settings.presets:
            yield {'part': 'memory', 'name': words, 'peak_bytes': peak_of(words)}
        for (name, (option, start)), factor in itertools.product(axes.items(), settings.factors):
            words = f'{preset} --{option}={factor * start}'
            peaks[name].append(peak_of(words))
            yield {'part': 'memory', 'name': words, 'peak_bytes': peaks[name][-1]}
    for name, values in peaks.items():
        ratio = max(values) / min(values)
        yield {'part': 'memory', 'name': f'{preset}, growth with {name}', 'ratio': ratio}
