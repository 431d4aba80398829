"""Processes that are measured: their memory, their failures, and how their steps slow down."""

import json
import pathlib

import pytest
from helpers.tiny import TINY

from drl_tf.base.errors import UserError
from drl_tf.cli import parsing
from drl_tf.tools.bench import __main__ as bench
from drl_tf.tools.bench import processes
from drl_tf.tools.bench.settings import Settings


def test_the_memory_is_that_of_the_process_alone():
    """This process is larger than the one that it starts."""
    held = bytearray(300 * 2**20)
    for index in range(0, len(held), 4096):
        held[index] = 1
    small = processes.ended(['-S', '-c', 'print("done")'])
    large = processes.ended(['-S', '-c', 'a = bytearray(100 * 2**20); a[::4096] = bytes(len(a[::4096]))'])
    assert small.out == 'done\n' and small.peak_bytes < 60 * 2**20
    assert 80 * 2**20 < large.peak_bytes - small.peak_bytes < 130 * 2**20
    assert small.seconds > 0 and small.begin > 1e9


def test_a_process_that_fails_is_one_line():
    with pytest.raises(UserError, match=r'sys\.exit.* failed: .*no luck'):
        processes.ended(['-c', 'import sys; sys.exit("no luck")'])


def test_slowdown_compares_the_last_tenth_with_the_second():
    steady = [float(step) for step in range(110)]
    assert processes.slowdown(steady) == 1
    slower = [step + max(0, step - 90) for step in steady]
    assert processes.slowdown(slower) == 2
    compiling = [50 * (step > 0) + step for step in steady]
    assert processes.slowdown(compiling) == 1


def test_memory_is_compared_along_chain_steps_and_levels(monkeypatch):
    """Each axis changes its option alone, from that of the base on; the base is measured once."""
    asked = []

    def ended(words):
        asked.append(words)
        marks, config = (
            words[2],
            parsing.configuration_of([word for word in words[3:] if 'workdir' not in word]),
        )
        pathlib.Path(marks).write_text('[1.0]')
        steps, levels = max(config.steps_by_level), config.diffusion.num_levels
        return processes.Ended(begin=0, seconds=1, peak_bytes=1000 * (10 + steps + 3 * levels), out='')

    monkeypatch.setattr(processes, 'ended', ended)
    base = ' '.join([*TINY, '--num_levels=2', '--mcmc_steps=4'])
    lines = list(processes.memory_lines(Settings((base,), base, (), 1, 1, 4, (1, 8), '')))
    found = {line['name'].removeprefix(base): line.get('peak_bytes', line.get('ratio')) for line in lines}
    assert found == {
        '': 20_000,
        ' --mcmc_steps=4': 20_000,
        ' --mcmc_steps=32': 48_000,
        ' --num_levels=2': 20_000,
        ' --num_levels=16': 62_000,
        ', growth with K': 2.4,
        ', growth with T': 3.1,
    }
    assert len(asked) == 3


@pytest.mark.slow
def test_small_form(tmp_path, capsys, monkeypatch):
    """Times and peak memory of the start of a tiny model, and of the answers of a small export.

    That memory does not grow with K and T: tests/planning/test_memory.py.
    """
    monkeypatch.setattr(processes, 'MODEL', 'toy_checkerboard')
    points = ['--dataset=toy_checkerboard', '--image_size=1', '--max_loss=1000', '--num_levels=2']
    tiny = ' '.join([*TINY, *points])
    words = ['start', '--repeats=1', '--steps=12', f'--preset={tiny}', f'--directory={tmp_path}']
    assert bench.main(words) == 0
    assert '| `import tensorflow` | ' in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / 'bench.jsonl').read_text().splitlines()]
    seconds = {line['name']: line['seconds']['median'] for line in lines if 'seconds' in line}
    assert seconds['Python'] < seconds['import tensorflow'] < 4 * seconds['import drl_tf.api']
    assert seconds['--help'] < seconds['first training step, from the command on']
    first, second = (f'export of toy_checkerboard: {name} answer of energy' for name in ('first', 'second'))
    assert seconds[second] < seconds[first]
    peaks = {line['name']: line['peak_bytes'] for line in lines if 'peak_bytes' in line}
    assert peaks['Python'] < 60 * 2**20 < peaks['import tensorflow']
    assert peaks['import tensorflow'] < peaks['first training step, from the command on']
