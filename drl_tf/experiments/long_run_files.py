"""The files of --mode=long_run: states of the chains, snapshots and energies."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from drl_tf.base.errors import one_line
from drl_tf.base.files import written_aside

_STATES_KEPT = 2
_STATE = 'state'
_TRACE = 'trace'
_SNAPSHOT = 'snapshot'


class ChainFiles:
    """The files of the chains of one noise level, `.npz` archives in a directory.

    A transition is one step of the chains. `trace-<k>.npz` holds the energies and acceptances of consecutive
    transitions, of which k + 1 is the first. `snapshot-<k>.npz` holds the noisy images at which the chains
    are after k transitions. `state-<k>.npz` holds all arrays that the chains need to continue from there.

    Args:
      directory: directory of the files.
    """

    def __init__(self, directory: str):
        self.directory = directory

    def restore(self, start: Sequence[Any]) -> tuple[int, Sequence[Any]]:
        """Reads the newest state from which chains can continue, and removes later files.

        A state is used only if it, all earlier energies and all earlier snapshots are undamaged.

        Args:
          start: the arrays of the state before the first transition. Arrays in the files must have the same
            shapes and types.

        Returns:
          The number of transitions made, and the arrays of the state; 0 and `start` if no state can be used.
        """
        wanted = [(tuple(part.shape), part.dtype) for part in start]
        for done in sorted(self._numbers(_STATE), reverse=True):
            try:
                self.trace(done)
                for step in self.snapshots():
                    if step <= done:
                        self.snapshot(step)
                arrays = self._read(_STATE, done)
                state = [arrays[f'{index:03d}'] for index in range(len(arrays))]
                if [(array.shape, array.dtype) for array in state] != wanted:
                    raise ValueError('its arrays are not those of chains with these settings')
                self._remove_after(done)
                return done, state
            except Exception as error:  # zipfile and NumPy raise errors of many kinds on damaged files.
                logging.warning(
                    'the chains in %s after %d transitions are damaged (%s)',
                    self.directory,
                    done,
                    one_line(error),
                )
        self._remove_after(-1)
        return 0, start

    def write_state(self, done: int, arrays: Sequence[Any]) -> None:
        """Writes the chains' state after `done` transitions; of the older states, only the latest is kept.

        Args:
          done: number of transitions made.
          arrays: all arrays from which the chains can continue.
        """
        self._write(_STATE, done, **{f'{index:03d}': np.asarray(array) for index, array in enumerate(arrays)})
        for old in sorted(self._numbers(_STATE))[:-_STATES_KEPT]:
            os.remove(self._path(_STATE, old))

    def write_trace(self, first: int, energies: np.ndarray, accepted: np.ndarray) -> None:
        """Writes the energies and acceptances of n chains in consecutive transitions.

        Args:
          first: number of transitions that the chains made before these.
          energies: energies after each transition, float32 [number of transitions, n].
          accepted: whether each proposal was accepted, bool [number of transitions, n].
        """
        self._write(_TRACE, first, energies=energies, accepted=accepted)

    def write_snapshot(self, step: int, states: np.ndarray) -> None:
        """Writes the states of n chains after `step` transitions, noisy images, float32 [n, H, W, C]."""
        self._write(_SNAPSHOT, step, states=states)

    def trace(self, done: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads the energies and acceptances of n chains in their first `done` transitions.

        Returns:
          The energies, float32 [done, n], and whether each proposal was accepted, bool [done, n].

        Raises:
          ValueError: the files lack some of these transitions.
        """
        parts: list[dict[str, np.ndarray]] = []
        first = 0
        while first < done:
            parts.append(self._read(_TRACE, first))
            first += len(parts[-1]['energies'])
        if first != done:
            raise ValueError(f'there are energies of {first} transitions, not {done}')
        energies = np.concatenate([part['energies'] for part in parts])
        accepted = np.concatenate([part['accepted'] for part in parts])
        return energies, accepted

    def snapshots(self) -> list[int]:
        """Returns the numbers of transitions after which `write_snapshot` wrote states, ascending."""
        return sorted(self._numbers(_SNAPSHOT))

    def snapshot(self, step: int) -> np.ndarray:
        """Reads the states of n chains after `step` transitions, noisy images, float32 [n, H, W, C]."""
        return self._read(_SNAPSHOT, step)['states']

    def _path(self, kind: str, number: int) -> str:
        return os.path.join(self.directory, f'{kind}-{number:07d}.npz')

    def _numbers(self, kind: str) -> list[int]:
        names = os.listdir(self.directory) if os.path.isdir(self.directory) else []
        return [int(found.group(1)) for name in names if (found := re.fullmatch(rf'{kind}-(\d+)\.npz', name))]

    def _write(self, kind: str, number: int, **arrays: Any) -> None:
        with written_aside(self._path(kind, number), 'wb') as file:
            np.savez(file, **arrays)

    def _read(self, kind: str, number: int) -> dict[str, np.ndarray]:
        with np.load(self._path(kind, number), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    def _remove_after(self, done: int) -> None:
        """Removes the files that are later than the state after `done` transitions."""
        for kind, first in ((_STATE, done + 1), (_TRACE, done), (_SNAPSHOT, done + 1)):
            for number in self._numbers(kind):
                if number >= first:
                    os.remove(self._path(kind, number))
