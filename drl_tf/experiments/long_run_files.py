"""Chains on disk as they run: what a continued chain needs, what it looked like at times, and its energies
all along."""

import os
import re

import numpy as np
from absl import logging

from drl_tf.base.errors import one_line
from drl_tf.base.files import written_aside

_STATES_KEPT = 2
_STATE, _TRACE, _SNAPSHOT = 'state', 'trace', 'snapshot'


class ChainFiles:
    """The files of the chains of one level, each written aside and renamed; archives hold checksums of what
    is in them.

    `trace-<first>.npz` holds the energies and acceptances of transitions `first` + 1 and on,
    `snapshot-<k>.npz` the states after k transitions, `state-<k>.npz` all that the next one needs. A state is
    written last: what is later than it is not yet true.

    Args:
      directory: where they are.
    """

    def __init__(self, directory):
        self.directory = directory

    def restore(self, start):
        """The newest state that is sound and has all files that led to it; later files are removed.

        Args:
          start: arrays of the state at the beginning, a list.

        Returns:
          How many transitions it has behind it, and its arrays; 0 and `start` where there is none.
        """
        for done in sorted(self._numbers(_STATE), reverse=True):
            try:
                self.trace(done)
                for step in (step for step in self.snapshots() if step <= done):
                    self.snapshot(step)
                state = self._read(_STATE, done)
                state = [state[f'{index:03d}'] for index in range(len(state))]
                if [(array.shape, array.dtype) for array in state] != [
                    (tuple(part.shape), part.dtype) for part in start
                ]:
                    raise ValueError('other arrays than chains of these settings have')
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

    def write_state(self, done, arrays):
        """Keeps the arrays of the state after `done` transitions, and those of the state before."""
        self._write(_STATE, done, **{f'{index:03d}': np.asarray(array) for index, array in enumerate(arrays)})
        for old in sorted(self._numbers(_STATE))[:-_STATES_KEPT]:
            os.remove(self._path(_STATE, old))

    def write_trace(self, first, energies, accepted):
        """Keeps energies, float32 [count, n], and acceptances, bool [count, n], of the transitions after
        `first`."""
        self._write(_TRACE, first, energies=energies, accepted=accepted)

    def write_snapshot(self, step, states):
        """Keeps states after `step` transitions, float32 [n, H, W, C]."""
        self._write(_SNAPSHOT, step, states=states)

    def trace(self, done):
        """Energies and acceptances of the first `done` transitions, float32 and bool [done, n]; raises
        ValueError where some lack."""
        parts, first = [], 0
        while first < done:
            parts.append(self._read(_TRACE, first))
            first += len(parts[-1]['energies'])
        if first != done:
            raise ValueError(f'energies of {first} transitions, not {done}')
        return tuple(np.concatenate([part[name] for part in parts]) for name in ('energies', 'accepted'))

    def snapshots(self):
        """Numbers of transitions after which states were kept, in order."""
        return sorted(self._numbers(_SNAPSHOT))

    def snapshot(self, step):
        """The states after `step` transitions, float32 [n, H, W, C]."""
        return self._read(_SNAPSHOT, step)['states']

    def _path(self, kind, number):
        return os.path.join(self.directory, f'{kind}-{number:07d}.npz')

    def _numbers(self, kind):
        names = os.listdir(self.directory) if os.path.isdir(self.directory) else []
        return [int(found.group(1)) for name in names if (found := re.fullmatch(rf'{kind}-(\d+)\.npz', name))]

    def _write(self, kind, number, **arrays):
        with written_aside(self._path(kind, number), 'wb') as file:
            np.savez(file, **arrays)

    def _read(self, kind, number):
        with np.load(self._path(kind, number), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    def _remove_after(self, done):
        """Removes what is later than the state after `done` transitions."""
        for kind, first in ((_STATE, done + 1), (_TRACE, done), (_SNAPSHOT, done + 1)):
            for number in self._numbers(kind):
                if number >= first:
                    os.remove(self._path(kind, number))
