"""Finds out where the first weights of a model come from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from drl_tf.base.files import read_sound_json
from drl_tf.runs import authors_checkpoint, exported, run_directory

NEW: dict[str, Any] = {
    'origin': {},
    'start': {},
    'fitted_steps': 0,
    'heights': None,
    'seconds': None,
    'device': None,
}


def without_results(known: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what holds for other weights too: `known` without log Z and without scores.

    Args:
      known: a dict with entries of `NEW`, and others, which are results.

    Examples:
      >>> without_results({'fitted_steps': 3, 'heights': {'log_z': [0.5]}, 'evaluations': []}) == {
      ...     **NEW, 'fitted_steps': 3}
      True
    """
    return {**{name: known.get(name, nothing) for name, nothing in NEW.items()}, 'heights': None}


def beginning(model: str) -> dict[str, Any]:
    """Finds out where the first weights of a model come from.

    Args:
      model: the directory of a run or of an exported model.

    Returns:
      A dict with these entries; `NEW` has their values for new weights:

      - 'origin': the record of an imported checkpoint of the authors' code, or {}.
      - 'start': the record of the model that --init_from named, or {}.
      - 'fitted_steps': the number of steps of `EnergyModel.fit`.
      - 'heights': log Z of the noise levels that came with an exported model, {attribute of `Heights`:
        value}, or None.
      - 'seconds' and 'device': the training time of an exported model in seconds, and the device; None for a
        run.
    """
    version = exported.source(model)
    if version:
        described = read_sound_json(os.path.join(version, exported.DESCRIPTION))
        return {name: described.get(name, nothing) for name, nothing in NEW.items()}
    recorded = read_sound_json(os.path.join(model, authors_checkpoint.ORIGIN))
    origin = {
        name: os.path.basename(value) if isinstance(value, str) else value for name, value in recorded.items()
    }
    return {**NEW, 'origin': origin, 'start': read_sound_json(os.path.join(model, run_directory.START))}


def imported(known: Mapping[str, Any]) -> bool:
    """Tells whether the weights began, at any earlier stage, with a network of the authors' code.

    Args:
      known: a dict with the entries 'origin' and 'start' of `beginning`.
    """
    return bool(known['origin'] or known['start'].get('imported'))
