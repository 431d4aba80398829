"""Trains on disks that fill up, of which each is then enlarged: the same command must go on, and end with the
bits of a large disk.

    sudo python -m drl_tf.tools.full_disk        # mounts a tmpfs in a temporary directory

Where the disk fills up depends on its size: in the features of the real images, the log, a checkpoint or the
best checkpoint.
"""

import pathlib
import subprocess
import sys
import tempfile

from drl_tf.tools import kills

_SIZES = (100, 200, 300, 340, 380, 420, 460, 500, 530)  # KiB
_ENOUGH = 8192


def train(workdir):
    """The exit code of the tiny run, and its error line, if it has one."""
    command = [sys.executable, '-m', 'drl_tf.cli', *kills.OPTIONS, '--recipe=t6', f'--workdir={workdir}']
    done = subprocess.run(command, capture_output=True, text=True)
    assert 'Traceback' not in done.stderr, done.stderr
    return done.returncode, next(
        (line for line in done.stderr.splitlines() if line.startswith('error: ')), ''
    )


def mount(disk, size, *options):
    subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', ','.join([*options, f'size={size}k']), 'tmpfs', disk], check=True
    )


def main():
    with tempfile.TemporaryDirectory() as directory:
        disk, survived = pathlib.Path(directory) / 'disk', 0
        disk.mkdir()
        assert train(f'{directory}/alone')[0] == 0
        alone = kills.state(pathlib.Path(directory) / 'alone')
        for size in _SIZES:
            mount(disk, size)
            try:
                code, error = train(disk / 'w')
                mount(disk, _ENOUGH, 'remount')
                went_on = train(disk / 'w')[0] == 0 and kills.equal(kills.state(disk / 'w'), alone)
            finally:
                subprocess.run(['umount', disk], check=True)
            survived += code == 2 and 'No space left on device' in error and went_on
            print(
                f'{size} KiB: exit code {code}, {error[:200]} ...; then '
                f'{"bit-equal" if went_on else "NOT EQUAL"}',
                flush=True,
            )
        print(f'{survived}/{len(_SIZES)} full disks were named and ended bit-equal')
    return survived < len(_SIZES)


if __name__ == '__main__':
    sys.exit(main())
