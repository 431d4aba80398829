"""Tests training on disks that fill up: after more space, the same command must end with the same bits.

    sudo python -m drl_tf.tools.full_disk        # mounts a tmpfs in a temporary directory

The size of a disk decides which file fills it: features of real images, the log or a checkpoint.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

from drl_tf.tools import kills

_SIZES = (100, 200, 300, 340, 380, 420, 460, 500, 530)  # KiB
_ENOUGH = 8192


def _train(workdir: str | os.PathLike[str]) -> tuple[int, str]:
    """Trains a tiny model in a new process; returns its exit code and the line of its error, or ''."""
    command = [sys.executable, '-m', 'drl_tf.cli', *kills.OPTIONS, '--recipe=t6', f'--workdir={workdir}']
    done = subprocess.run(command, capture_output=True, text=True)
    assert 'Traceback' not in done.stderr, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    return done.returncode, errors[0] if errors else ''


def _mount(disk: pathlib.Path, size: int, *options: str) -> None:
    """Mounts a disk of `size` KiB in memory (tmpfs) at `disk`; the option 'remount' changes its size."""
    words = ','.join([*options, f'size={size}k'])
    subprocess.run(['mount', '-t', 'tmpfs', '-o', words, 'tmpfs', disk], check=True)


def main() -> bool:
    """Trains on disks of several sizes that fill up, prints the outcomes, and returns whether a test failed.

    A test fails unless training reports the full disk and, after the disk has grown, ends with the same bits
    as a run that always had enough space.
    """
    survived = 0
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        disk = root / 'disk'
        disk.mkdir()
        assert _train(root / 'alone')[0] == 0
        alone = kills.state(root / 'alone')
        for size in _SIZES:
            _mount(disk, size)
            try:
                code, error = _train(disk / 'w')
                _mount(disk, _ENOUGH, 'remount')
                is_equal = _train(disk / 'w')[0] == 0 and kills.equal(kills.state(disk / 'w'), alone)
            finally:
                subprocess.run(['umount', disk], check=True)
            survived += code == 2 and 'No space left on device' in error and is_equal
            verdict = 'bit-equal' if is_equal else 'NOT EQUAL'
            print(f'{size} KiB: exit code {code}, {error[:200]} ...; then {verdict}', flush=True)
        print(f'{survived}/{len(_SIZES)} full disks were reported, and the run ended bit-equal')
    return survived < len(_SIZES)


if __name__ == '__main__':
    sys.exit(main())
