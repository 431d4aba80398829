"""The page of a run in a real browser: sliders, player, charts, widths, and that it asks for nothing."""

import shutil

import pytest
from helpers import browser

from drl_tf.config import config as configuration
from drl_tf.report import pages

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.CHROMIUM, reason='no Chromium here: .ci/packages installs it'),
]
CHARTS = "document.querySelectorAll('.canvas > .bk-Figure').length"


@pytest.fixture(scope='module')
def page(tiny_run, tmp_path_factory):
    """The page of the tiny run, and a page that compares it with its copy."""
    root = tmp_path_factory.mktemp('browser')
    first, second = (shutil.copytree(tiny_run, root / name) for name in ('first', 'second'))
    pages.report(configuration.load(first), str(first), [str(second)], count=10)
    return first / pages.PAGE


@pytest.fixture(scope='module')
def chromium():
    with browser.opened() as opened:
        yield opened


def focused(chromium, name):
    chromium.value(f"document.getElementById('{name}').focus()")
    assert chromium.value('document.activeElement.id') == name


def text(chromium, name):
    return chromium.value(f"document.getElementById('{name}').textContent")


@pytest.mark.parametrize('name', [pages.PAGE, pages.COMPARISON])
@pytest.mark.parametrize('width', [390, 1440])
def test_a_page_fits_draws_its_charts_and_asks_for_nothing(chromium, page, name, width):
    chromium.requests.clear()
    chromium.show(page.parent / name, width)
    chromium.wait_for(f"{CHARTS} === document.querySelectorAll('.chart').length && {CHARTS} > 4")
    assert chromium.value('document.documentElement.scrollWidth') <= width
    assert chromium.faint() == []
    assert chromium.value('[...document.images].every((image) => image.alt)')
    assert chromium.errors == []
    assert [
        address for address in chromium.requests if not address.startswith(('file:', 'data:', 'blob:'))
    ] == []
    assert len([address for address in chromium.requests if address.startswith('file:')]) == 1


def test_the_slider_over_grids_obeys_the_keyboard(chromium, page):
    chromium.show(page, 1440)
    source = "document.getElementById('grid').src"
    last = chromium.value(source)
    assert text(chromium, 'grid-step') == 'Step 16'
    focused(chromium, 'grid-slider')
    chromium.press('ArrowLeft')
    assert text(chromium, 'grid-step') == 'Step 8' and chromium.value(source) != last
    assert chromium.value("document.getElementById('grid').alt") == 'Grid of samples after 8 steps'
    chromium.press('End')
    assert text(chromium, 'grid-step') == 'Step 16' and chromium.value(source) == last


def test_the_player_goes_from_noise_to_image(chromium, page):
    chromium.show(page, 1440)
    first = "document.querySelector('.state').src"
    energy = "document.querySelector('.energy').textContent"
    images, energies = chromium.value(first), chromium.value(energy)
    focused(chromium, 'play')
    chromium.press('Enter')
    assert text(chromium, 'play') == 'Pause' and text(chromium, 'state-name') == 'x_6'
    assert chromium.value(first) != images and chromium.value(energy) != energies
    chromium.wait_for("document.getElementById('play').textContent === 'Play'")
    assert text(chromium, 'state-name') == 'x_0'
    assert (chromium.value(first), chromium.value(energy)) == (images, energies)
    now = chromium.value("[...document.querySelectorAll('td.now')].map((cell) => cell.textContent)")
    assert now == chromium.value("[...document.querySelectorAll('.energy')].map((each) => each.textContent)")
    assert len(now) == 8


def test_the_player_pauses_where_its_slider_is_moved(chromium, page):
    chromium.show(page, 1440)
    focused(chromium, 'play')
    chromium.press(' ')
    assert text(chromium, 'play') == 'Pause'
    focused(chromium, 'state-slider')
    chromium.press('Home')
    chromium.press('ArrowRight')
    assert text(chromium, 'play') == 'Play' and text(chromium, 'state-name') == 'x_5'
    assert chromium.value("document.getElementById('state-slider').getAttribute('aria-valuetext')") == 'x_5'


def test_the_first_key_leads_to_the_content(chromium, page):
    chromium.show(page, 390)
    chromium.press('Tab')
    assert chromium.value('document.activeElement.className') == 'skip'
    chromium.press('Enter')
    chromium.wait_for("document.activeElement.id === 'main'")
