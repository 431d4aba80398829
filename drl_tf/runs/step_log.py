"""Logs of a run: files with one JSON object per line, each with the training step as 'step'."""

import json
import math
import os
from typing import Any

from absl import logging

from drl_tf.base.files import written_aside


def parsed(line: str) -> dict[str, Any]:
    """Parses a line of a log; returns {} if the line is damaged.

    Args:
      line: a JSON object with a whole number as 'step'; anything else is damaged.

    Examples:
      >>> parsed('{"step": 8, "loss": 0.5}'), parsed('{"step": 8, "lo')
      ({'step': 8, 'loss': 0.5}, {})
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    is_sound = isinstance(found, dict) and isinstance(found.get('step'), int)
    return found if is_sound else {}


def drop_after(path: str, step: int) -> None:
    """Removes the lines of training steps above `step` from a log; an interrupted run may have left them."""
    if os.path.exists(path):
        with open(path, encoding='utf-8', errors='replace') as file:
            kept = [line for line in file if _step_of(line) <= step]
        with written_aside(path) as file:
            file.writelines(kept)


def _step_of(line: str) -> float:
    """Returns the step of a line; infinity if the line is unfinished, or damaged, which gives a warning."""
    if not line.endswith('\n'):
        return math.inf
    found = parsed(line)
    if not found:
        logging.warning('dropping a damaged line of the metrics log: %.80r', line)
    return found.get('step', math.inf)


def last_step(path: str) -> float:
    """Returns the highest training step in a log; 0 if the log is missing or empty."""
    if not os.path.exists(path):
        return 0
    with open(path, encoding='utf-8', errors='replace') as file:
        return max(map(_step_of, file), default=0)
