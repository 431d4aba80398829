"""Trains on disks that fill up, then enlarges each disk: the same command must go on to the same bits.

    sudo python -m drl_tf.tools.full_disk        # mounts a tmpfs in a temporary directory

The size of the disk decides where it fills up: in the features of the real images, the log, a checkpoint or
the best checkpoint.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

from drl_tf.tools import kills

_SIZES = (100, 200, 300, 340, 380, 420, 460, 500, 530)  # KiB
_ENOUGH = 8192


def train(workdir: str | os.PathLike[str]) -> tuple[int, str]:
    """Runs the tiny training; returns its exit code and its error line, '' if there is none."""
    command = [sys.executable, '-m', 'drl_tf.cli', *kills.OPTIONS, '--recipe=t6', f'--workdir={workdir}']
    done = subprocess.run(command, capture_output=True, text=True)
    assert 'Traceback' not in done.stderr, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    return done.returncode, errors[0] if errors else ''


def mount(disk: pathlib.Path, size: int, *options: str) -> None:
    """Mounts a tmpfs of `size` KiB."""
    words = ','.join([*options, f'size={size}k'])
    subprocess.run(['mount', '-t', 'tmpfs', '-o', words, 'tmpfs', disk], check=True)


def main() -> bool:
    """Prints the outcome for each size of the disk; returns whether any run failed."""
    survived = 0
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        disk = root / 'disk'
        disk.mkdir()
        assert train(root / 'alone')[0] == 0
        alone = kills.state(root / 'alone')
        for size in _SIZES:
            mount(disk, size)
            try:
                code, error = train(disk / 'w')
                mount(disk, _ENOUGH, 'remount')
                is_equal = train(disk / 'w')[0] == 0 and kills.equal(kills.state(disk / 'w'), alone)
            finally:
                subprocess.run(['umount', disk], check=True)
            survived += code == 2 and 'No space left on device' in error and is_equal
            verdict = 'bit-equal' if is_equal else 'NOT EQUAL'
            print(f'{size} KiB: exit code {code}, {error[:200]} ...; then {verdict}', flush=True)
        print(f'{survived}/{len(_SIZES)} full disks were reported, and the run ended bit-equal')
    return survived < len(_SIZES)


if __name__ == '__main__':
    sys.exit(main())
