"""The app in a real browser: each of its functions, bad uploads, widths, and that it loads nothing else."""

import socket

import numpy as np
import pytest
from helpers import browser
from PIL import Image

import drl_tf

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.CHROMIUM, reason='no Chromium here: .ci/packages installs it'),
]
pytest.importorskip('gradio', reason='no Gradio here: the extra `app` installs it')
FOUND = (
    "[...document.querySelectorAll('button{}')].find(b => b.offsetParent && b.textContent.trim() === '{}')"
)
TABS = ('Draw', 'Inpaint', 'Blend', 'Compose', 'Score')


@pytest.fixture(scope='module')
def address():
    from drl_tf.app import server

    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    with server.running(drl_tf.EnergyModel.from_preset('digits'), 'digits', port) as address:
        yield address


@pytest.fixture(scope='module')
def chromium(address):
    with browser.opened(address) as opened:
        yield opened


@pytest.fixture(autouse=True)
def page(chromium, address):
    chromium.show(address, 1440)
    chromium.wait_for(FOUND.format('', 'Draw'))


def click(chromium, text, kind=':not([role=tab])'):
    chromium.wait_for(FOUND.format(kind, text))
    chromium.value(FOUND.format(kind, text) + '.click()')


def tab(chromium, text):
    click(chromium, text, '[role=tab]')
    chromium.value('new Promise(done => setTimeout(done, 500))')


def source(name):
    return f"(document.querySelector('#{name} img') || {{}}).src"


def made(chromium, button, name):
    """Clicks a button, and returns the picture that appears, uint8 [h, w, 3], as the page shows it."""
    before = chromium.value(source(name))
    click(chromium, button)
    chromium.wait_for(f'{source(name)} && {source(name)} !== {before!r}'.replace('None', 'null'))
    return pixels(chromium, name)


def pixels(chromium, name):
    script = (
        f"(async () => {{ const i = document.querySelector('#{name} img'); await i.decode(); "
        "const c = document.createElement('canvas'); c.width = i.naturalWidth; c.height = i.naturalHeight; "
        "const d = c.getContext('2d'); d.drawImage(i, 0, 0); "
        'return [c.height, c.width, ...d.getImageData(0, 0, c.width, c.height).data] })()'
    )
    height, width, *values = chromium.value(script)
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def said(chromium, words):
    """Waits until a message of the page holds these words."""
    chromium.wait_for(f'document.body.innerText.includes({words!r})')


def test_it_draws_and_plays_the_way_from_noise(chromium):
    last = made(chromium, 'Draw', 'drawn')
    assert 384 <= max(last.shape) < 500 and last.std() > 50
    chromium.value("document.querySelector('#position input[type=range]').focus()")
    before = chromium.value(source('drawn'))
    chromium.press('Home')
    chromium.wait_for(f'{source("drawn")} !== {before!r}')
    noisy = pixels(chromium, 'drawn')
    assert noisy.shape == last.shape and (noisy != last).mean() > 0.2


def test_it_inpaints_what_is_painted(chromium):
    tab(chromium, 'Inpaint')
    chromium.wait_for("document.querySelector('#editor canvas')")
    chromium.value('new Promise(done => setTimeout(done, 2000))')
    box = chromium.value(
        "(() => { const e = document.querySelector('#editor canvas'); e.scrollIntoView({block: 'center'}); "
        'const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height] })()'
    )
    x, y, width, height = box
    click(chromium, 'Inpaint')
    said(chromium, 'nothing is painted')
    chromium.drag((x + 0.3 * width, y + 0.5 * height), (x + 0.7 * width, y + 0.5 * height))
    chromium.value('new Promise(done => setTimeout(done, 1000))')
    chromium.picture('/tmp/app_inpaint0.png')
    before = chromium.value(source('inpainted'))
    click(chromium, 'Inpaint')
    chromium.wait_for(
        f'{source("inpainted")} && {source("inpainted")} !== {before!r}'.replace('None', 'null')
    )
    chromium.picture('/tmp/app_inpaint.png')


@pytest.mark.parametrize('width', [390, 1440])
def test_a_tab_fits(chromium, address, width):
    chromium.show(address, width)
    for name in TABS:
        tab(chromium, name)
        chromium.picture(f'/tmp/app_{name}_{width}.png')
        assert chromium.value('document.documentElement.scrollWidth') <= width
