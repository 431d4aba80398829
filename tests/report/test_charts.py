"""What charts show, and whether their colours can be told from the page."""

import re

import numpy as np
import pytest
from helpers.tiny import ROOT

from drl_tf.report import charts

PAGE = ROOT / 'drl_tf' / 'report' / 'page'


def test_gaps_stay_and_long_curves_are_thinned_out():
    y = np.arange(1000.0)
    y[999] = np.nan
    (line,) = charts.curves('loss', 'step', {'a': (range(1000), y)})['lines']
    assert len(line['x']) == len(line['y']) == 400
    assert (line['x'][0], line['x'][-1]) == (0, 999) and line['y'][-1] is None
    assert line['y'][5] == line['x'][5]


def test_a_single_point_is_a_dot():
    lines = charts.curves('loss', 'step', {'a': ([1], [2.0]), 'b': ([1, 2], [2.0, 3.0]), 'c': ((), ())})[
        'lines'
    ]
    assert [line['dots'] for line in lines] == [True, False, False] and lines[2]['x'] == []


def test_a_histogram_holds_every_image_and_shows_its_share():
    """The outline has each bin's edge twice; its area in bins is 1."""
    energies = np.concatenate([np.arange(100.0), [1e6]])
    chart = charts.histograms('level 0', {'training': energies, 'held out': np.full(7, 50.0)})
    for line in chart['lines']:
        assert sum(line['y'][1:-1:2]) == pytest.approx(1, abs=1e-4)
        assert max(line['x']) < 110
    assert chart['title'] == 'level 0'
    assert max(chart['lines'][1]['y']) == 1


def test_equal_energies_give_a_histogram():
    chart = charts.histograms('level 0', {'training': np.zeros(5)})
    assert max(chart['lines'][0]['y']) == 1


def contrast(colour):
    """Contrast to white, by WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 1.05 / (np.dot([0.2126, 0.7152, 0.0722], linear) + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast('#000000') == pytest.approx(21) and contrast('#777777') == pytest.approx(4.48, abs=0.01)


def test_colours_can_be_seen_on_white():
    script = (PAGE / 'charts.js').read_text()
    colours = re.search(r'COLOURS = \[(.*?)\]', script)[1].replace("'", '').split(', ')
    texts = re.findall(r'--(?:ink|soft|accent): (#\w{6})', (PAGE / 'page.css').read_text())
    assert len(colours) == 8 and len(texts) == 3
    assert min(map(contrast, colours + texts)) >= 4.5
