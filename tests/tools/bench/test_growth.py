"""How cost grows: slopes of lines through logarithms, and a plot."""

import json

import pytest
from helpers.tiny import TINY

from drl_tf.cli import parsing
from drl_tf.tools.bench import __main__ as bench
from drl_tf.tools.bench import growth

WORDS = [*TINY, '--num_levels=2', '--max_loss=1000']
ASKED = ('K', 'T', 'pixels')


def test_the_slope_is_the_power():
    assert growth.slope([3, 6, 12, 24], [5.0, 20.0, 80.0, 320.0]) == pytest.approx(2)
    assert growth.slope([1, 2], [7.0, 7.0]) == pytest.approx(0)


def test_each_axis_changes_its_option_alone():
    config = parsing.configuration_of(WORDS)
    for start, change in growth.axes(config).values():
        assert change(start).replace(sample_batch_size=16) == config
        assert (
            len(change(2 * start).replace(sample_batch_size=16).differences(config, lambda field: True)) == 1
        )


@pytest.mark.slow
def test_small_form(tmp_path, capsys, monkeypatch):
    """Sampling costs about as many times more as there are levels and Langevin steps; a plot is drawn."""
    every = growth.axes
    monkeypatch.setattr(growth, 'axes', lambda config: {name: every(config)[name] for name in ASKED})
    base = ' '.join([*WORDS, '--mcmc_steps=20'])
    words = ['growth', '--rounds=3', '--factors=1,4', '--precisions=float32', f'--base={base}']
    assert bench.main([*words, f'--directory={tmp_path}']) == 0
    assert '| `sample against K` | ' in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / 'bench.jsonl').read_text().splitlines()]
    slopes = {line['name']: line['slope'] for line in lines if 'slope' in line}
    assert len(slopes) == 2 * len(ASKED)
    assert 0.4 < slopes['sample against K'] < 1.6 and 0.4 < slopes['sample against T'] < 1.6
    assert slopes['step against T'] < 0.4 < slopes['step against pixels']
    assert (tmp_path / growth.PICTURE).read_bytes().startswith(b'\x89PNG')
