"""The command `python -m drl_tf.tools.bench`: refusals, files, the part `evaluation`."""

import importlib.util
import json

import pytest

from drl_tf.tools.bench import __main__ as bench
from drl_tf.tools.bench import report

SPREAD = {'median': 0.5, 'low': 0.25, 'high': 1.0, 'count': 3}


@pytest.mark.parametrize(
    ('words', 'part'),
    [
        (['trainig'], "unknown part 'trainig': choose from training, start"),
        (['--rounds=0'], '--rounds=0'),
        (['--repeats=0'], '--repeats=0'),
        (['--steps=3'], '--steps=3 must be at least 4'),
        (['--factors=1,x'], '--factors=1,x must be whole numbers'),
        (['--precisions=float16'], '--precisions=float16 must name float32'),
        (['training', '--preset=--dataset=digit'], '--dataset=digit '),
        (['memory', '--base=--chanels=8'], 'chanels'),
    ],
)
def test_wrong_use_is_one_line(words, part, tmp_path, capsys):
    assert bench.main([*words, f'--directory={tmp_path}']) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ') and part in line


def test_start_says_which_package_it_needs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert bench.main([f'--directory={tmp_path}']) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'part start needs the package tensorflow-serving-api' in line and not list(tmp_path.iterdir())


def test_lines_become_json_and_tables(tmp_path):
    lines = [
        {'part': 'a', 'name': 'x', 'seconds': SPREAD, 'flops_per_s': 2.5e9},
        {'part': 'a', 'name': 'y', 'peak_bytes': 3 * 2**20, 'convolutions': {'forward': 2}},
        {'part': 'b', 'name': 'z', **{f'q{number}': number for number in range(12)}},
    ]
    for line in lines:
        report.append(tmp_path, line)
    assert report.read(tmp_path) == lines
    first, second = report.tables(lines)
    assert first.splitlines() == [
        '| a | seconds | flops_per_s | peak_bytes | convolutions |',
        '|---|---|---|---|---|',
        '| `x` | 0.5 (0.25 to 1) | 2.5 G | - | - |',
        '| `y` | - | - | 3 MiB | 2 forward |',
    ]
    assert second.splitlines()[:4] == ['| b | `z` |', '|---|---|', '| q0 | 0 |', '| q1 | 1 |']


@pytest.mark.slow
def test_scores_are_measured_apart(tmp_path, capsys):
    words = ['evaluation', '--rounds=1', '--features=200', '--dimensions=8']
    assert bench.main([*words, f'--directory={tmp_path}']) == 0
    assert '| `Fréchet distance from the moments of 200 x 8` | ' in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / 'bench.jsonl').read_text().splitlines()]
    rates = {line['name']: line['per_s'] for line in lines if 'per_s' in line}
    assert rates['crop and resize them to 64 px'] > rates['crop and resize them to 128 px'] / 4
    assert rates['features of digits_classifier, images of 16 px'] > 0
