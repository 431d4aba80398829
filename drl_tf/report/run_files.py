"""Reads the files of a run for its page."""

from __future__ import annotations

import dataclasses
import fnmatch
import glob
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from drl_tf.base.files import read_json
from drl_tf.config import config as configuration
from drl_tf.report import measured
from drl_tf.runs import step_log
from drl_tf.runs.run_directory import METRICS, ROLLBACKS, SCORES

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.report.measured import Measured


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The contents of the files of a run.

    Attributes:
      workdir: the run's directory.
      config: the stored configuration.
      log: the lines of `metrics.jsonl`, {'step': .., name of a quantity: value}, ascending by step.
      scores: the lines of `evaluations.jsonl`, scores during training, ascending by 'step'.
      results: the JSON files of --mode=evaluate, sample, likelihood and long_run, and of divergences in
        training, {path relative to `workdir`: content}.
      grids: pictures of samples that training drew, {step: path}.
      rollbacks: steps at which training diverged and went back to an earlier checkpoint, in order of time.
      measured: the measurements of --mode=report; None if they are missing or damaged.
      problems: a sentence for each file that is damaged.
    """

    workdir: str
    config: Config
    log: list[dict[str, Any]]
    scores: list[dict[str, Any]]
    results: dict[str, dict[str, Any]]
    grids: dict[int, str]
    rollbacks: list[int]
    measured: Measured | None
    problems: list[str]

    @property
    def name(self) -> str:
        """The name of the run: the last part of the workdir's path."""
        return os.path.basename(os.path.abspath(self.workdir))

    @property
    def step(self) -> int:
        """The training step of the last line in `metrics.jsonl`; 0 if there is no line."""
        return self.log[-1]['step'] if self.log else 0

    @property
    def last_step(self) -> int:
        """The highest step in `metrics.jsonl`, the pictures of samples, or the measurements; 0 for none."""
        return max([self.step, *self.grids, *([self.measured.step] if self.measured else [])])

    def results_of(self, pattern: str) -> dict[str, dict[str, Any]]:
        """Returns the entries of the attribute `results` whose path matches a pattern.

        Args:
          pattern: path relative to the run's directory, such as 'evaluation/*.json'; * does not match a /.

        Returns:
          {path of a JSON file of the run: content}; {} if none matches.
        """
        depth = pattern.count('/')
        return {
            path: result
            for path, result in self.results.items()
            if path.count('/') == depth and fnmatch.fnmatch(path, pattern)
        }


def read(workdir: str) -> RunFiles:
    """Reads the files of a run; a damaged file raises no error, unless it is the configuration.

    Args:
      workdir: the run's directory.

    Returns:
      The contents of the files. If a file is missing, its attribute is empty, or None for `measured`. Each
      damaged file adds a sentence to `problems`.

    Raises:
      UserError: the directory holds no configuration, or a damaged one.

    Example:
      read('runs/digits').step
    """
    config = configuration.load(workdir)
    problems: list[str] = []
    return RunFiles(
        workdir=workdir,
        config=config,
        log=_lines(workdir, METRICS, problems),
        scores=_lines(workdir, SCORES, problems),
        results=_results(workdir, problems),
        grids=_grids(workdir),
        rollbacks=_rollbacks(workdir, problems),
        measured=measured.load(workdir, problems),
        problems=problems,
    )


def numbers_of(result: Mapping[str, Any]) -> dict[str, float]:
    """Returns the entries of a JSON object that are numbers, {name: number}, without true and false."""
    return {
        name: value
        for name, value in result.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _lines(workdir: str, name: str, problems: list[str]) -> list[dict[str, Any]]:
    """Reads a file of one JSON object per line; keeps the last line of each step."""
    path = os.path.join(workdir, name)
    if not os.path.exists(path):
        return []
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            found = [step_log.parsed(line) for line in file]
    except OSError as error:
        problems.append(f'{name} cannot be read: {error.strerror}.')
        return []
    sound = {line['step']: line for line in found if line}
    if len(damaged := [line for line in found if not line]):
        problems.append(f'{name}: {len(damaged)} of {len(found)} lines are damaged, and are left out.')
    return [sound[step] for step in sorted(sound)]


def _results(workdir: str, problems: list[str]) -> dict[str, dict[str, Any]]:
    """Reads the JSON files of evaluations, sets of samples, likelihoods, long-run chains and divergences."""
    root = glob.escape(workdir)
    patterns = (
        'evaluation/*.json',
        'samples/*/samples.json',
        'likelihood/*.json',
        'long_run/*/metrics.json',
        'diverged-*.json',
    )
    found = {}
    for path in sorted(path for pattern in patterns for path in glob.glob(os.path.join(root, pattern))):
        name = os.path.relpath(path, workdir)
        try:
            found[name] = read_json(path)
        except (OSError, ValueError) as error:
            problems.append(f'{name} is damaged ({error}), and is left out.')
    return found


def _grids(workdir: str) -> dict[int, str]:
    """Returns {step: path} of the grids of samples, in the order of their steps."""
    pattern = os.path.join(glob.escape(workdir), 'samples', '*.png')
    names = {path: os.path.basename(path).removesuffix('.png') for path in glob.glob(pattern)}
    return dict(sorted((int(name), path) for path, name in names.items() if name.isdecimal()))


def _rollbacks(workdir: str, problems: list[str]) -> list[int]:
    path = os.path.join(workdir, ROLLBACKS)
    if not os.path.exists(path):
        return []
    try:
        return [int(step) for step in read_json(path, list)]
    except (OSError, ValueError, TypeError) as error:
        problems.append(f'{ROLLBACKS} is damaged ({error}), and is left out.')
        return []
