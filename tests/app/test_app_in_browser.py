"""The app in a real browser: its functions, bad uploads, widths, contrast, and that it loads nothing else."""

import contextlib
import socket
import threading
import time
import types

import numpy as np
import pytest
from helpers import browser
from helpers.app_page import (
    FOUND,
    choose,
    cleared,
    click,
    made,
    pixels,
    said,
    source,
    still,
    stop,
    tab,
    uploaded,
)
from PIL import Image

import drl_tf
from drl_tf.app import limits

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.CHROMIUM, reason='no Chromium here: .ci/packages installs it'),
]
gradio = pytest.importorskip('gradio', reason='no Gradio here: the extra `app` installs it')
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
    with browser.opened() as opened:
        yield opened


@pytest.fixture
def page(chromium, address):
    """The browser with a fresh page of the app."""
    chromium.show(address, 1440)
    chromium.wait_for(FOUND.format('', 'Draw'))
    return chromium


class Gate:
    """Holds work at the `number`-th call of `pass_through`, until it is opened; counts the calls."""

    def __init__(self, number):
        self.number, self.calls = number, 0
        self.reached, self.opened = threading.Event(), threading.Event()

    def pass_through(self, *arguments, **options):
        self.calls += 1
        if self.calls == self.number:
            self.reached.set()
            assert self.opened.wait(60)


def test_it_draws_and_the_slider_and_play_show_the_way_from_noise(page, monkeypatch):
    from drl_tf.app import parts

    click(page, 'Play')
    said(page, 'nothing to play yet')
    last = made(page, 'Draw', 'drawn')
    assert 384 <= max(last.shape) < 500 and last.std() > 50
    address = page.value(source('drawn'))
    page.value("document.querySelector('#position input[type=range]').focus()")
    page.press('Home')
    page.wait_for(f'{source("drawn")} !== {address!r}')
    noisy = pixels(page, 'drawn')
    assert noisy.shape == last.shape and (noisy != last).mean() > 0.2
    page.press('End')
    page.wait_for(f'{source("drawn")} === {address!r}')

    arrived = threading.Semaphore(0)
    pause = types.SimpleNamespace(wait=lambda seconds: not arrived.acquire(timeout=60))
    monkeypatch.setattr(parts.App, 'stoppable', lambda app, request: contextlib.nullcontext(pause))
    click(page, 'Play')
    seen = [address]
    for _ in range(7):  # Each state waits until the browser shows the one before.
        page.wait_for(f'{source("drawn")} !== {seen[-1]!r}')
        seen.append(page.value(source('drawn')))
        arrived.release()
    assert len(set(seen)) == 7 and seen[-1] == address
    assert (pixels(page, 'drawn') == last).all()
    assert page.value("document.querySelector('#position input[type=range]').value") == '6'


def test_stop_ends_playing(page, monkeypatch):
    from drl_tf.app import pages

    monkeypatch.setattr(pages, 'FRAME_SECONDS', 600)
    for _ in range(2):  # Were the first play not over, the second could not begin.
        assert made(page, 'Draw', 'drawn').std() > 50
        last = page.value(source('drawn'))
        click(page, 'Play')
        page.wait_for(f'{source("drawn")} !== {last!r}')
        stop(page)


@pytest.mark.parametrize(
    ('name', 'picture', 'calls'), [('Draw', 'drawn', 7), ('Inpaint', 'inpainted', 4), ('Blend', 'blended', 7)]
)
def test_stop_ends_the_work_before_its_next_part(page, monkeypatch, name, picture, calls):
    """Work shows its progress in this number of `calls`, and the stopped work in two."""
    tab(page, name)
    if name == 'Inpaint':
        choose(page, 'the lower half')
    gate = Gate(2)
    monkeypatch.setattr(gradio.Progress, '__call__', gate.pass_through)
    click(page, name)
    assert gate.reached.wait(60)
    stop(page)
    gate.opened.set()
    assert page.value(source(picture)) is None
    # The next request waits until the stopped one has ended.
    assert made(page, name, picture).std() > 50
    assert gate.calls == 2 + calls


def canvas(page, shows):
    """Waits until what the canvas for painting shows, uint8 [h, w, 3], passes a check; returns it."""
    page.wait_for("(document.querySelector('#editor canvas') || {}).offsetWidth > 100")
    end = time.monotonic() + 60
    while not shows(seen := page.seen('#editor canvas')):
        assert time.monotonic() < end, 'the canvas does not show it within a minute'
        time.sleep(0.1)
    return seen


def an_image(seen):
    """Whether a canvas shows an image of a digit, most of which is black; an empty canvas is white."""
    return (seen.max(axis=-1) < 30).mean() > 0.2


def is_red(seen):
    """Which pixels of a canvas are painted."""
    return np.ptp(seen, axis=-1) > 200


def paint(page):
    """Paints a line across the middle of the canvas, and waits until it shows."""
    x, y, width, height = page.box('#editor canvas')
    page.drag((x + 0.3 * width, y + height / 2), (x + 0.7 * width, y + height / 2))
    canvas(page, lambda seen: is_red(seen).mean() > 0.05)


def cells_of(picture, rows=2, columns=2):
    """Cuts a sheet into its images."""
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    return [
        picture[height * row : height * (row + 1), width * column : width * (column + 1)]
        for row in range(rows)
        for column in range(columns)
    ]


def test_it_inpaints_what_is_painted(page):
    tab(page, 'Inpaint')
    canvas(page, an_image)
    click(page, 'Inpaint')
    said(page, 'nothing is painted')
    paint(page)
    results = cells_of(made(page, 'Inpaint', 'inpainted'))
    changes = np.std(results, axis=0).max(axis=-1)
    rows = np.flatnonzero(changes.max(axis=1))
    middle = len(changes) / 2
    assert 0 < len(rows) < middle and abs(rows.mean() - middle) < middle / 2
    click(page, 'Draw another image')
    canvas(page, lambda seen: an_image(seen) and is_red(seen).mean() < 0.01)  # But for the brush.
    paint(page)


def test_it_inpaints_an_upload_and_other_images(page, tmp_path):
    grey = np.zeros([60, 40], np.uint8)
    grey[:, 16:24] = 255
    Image.fromarray(grey).save(tmp_path / 'stroke.png')
    tab(page, 'Inpaint')
    choose(page, 'the lower half')
    seen = canvas(page, an_image)
    shown = []
    for change in (
        lambda: uploaded(page, 'upload', tmp_path / 'stroke.png'),
        lambda: click(page, 'Draw another image'),
        lambda: click(page, 'Draw another image'),
    ):
        change()
        seen = canvas(page, lambda now, before=seen: an_image(now) and (now != before).mean() > 0.02)
        shown.append(made(page, 'Inpaint', 'inpainted'))
    for result in cells_of(shown[0]):
        upper = result[4 : len(result) // 2 - 4, 4:-4, 0]
        assert upper[:, len(upper[0]) // 2].min() > 240 and upper[:, :40].max() < 15
    upper = [each[: len(each) // 4] for each in shown]
    assert (upper[0] != upper[1]).any() and (upper[1] != upper[2]).any()


@pytest.mark.parametrize(('where', 'name'), [('Inpaint', 'upload'), ('Score', 'files')])
def test_pictures_that_cannot_be_used_are_refused(page, tmp_path, where, name):
    (tmp_path / 'large.png').write_bytes(b'0' * (limits.MOST_BYTES + 1))
    (tmp_path / 'text.png').write_text('no picture')
    Image.new('1', (5000, 4000)).save(tmp_path / 'huge.png')  # 20 million pixels in a small file.
    noise = np.random.default_rng(0).integers(0, 256, [64, 64, 3], np.uint8)
    Image.fromarray(noise).save(tmp_path / 'whole.jpg')
    (tmp_path / 'cut.jpg').write_bytes((tmp_path / 'whole.jpg').read_bytes()[:2000])
    lines = {
        'text.png': 'text.png is not a picture that can be read',
        'huge.png': 'huge.png has 20,000,000 pixels: give at most 16,777,216',
        'cut.jpg': 'cut.jpg is not a picture that can be read',
    }
    tab(page, where)
    page.give(f'#{name} input[type=file]', [tmp_path / 'large.png'])
    said(page, 'exceed the maximum allowed size')
    assert 'large' not in page.value(f"document.querySelector('#{name}').innerText")
    for file, line in lines.items():
        uploaded(page, name, tmp_path / file)
        if where == 'Score':
            click(page, 'Score my pictures')
        said(page, line)
        cleared(page, name)


def test_it_composes_and_refuses_what_is_no_expression(page):
    tab(page, 'Compose')
    assert made(page, 'Compose', 'composed').std() > 50
    page.value("document.querySelector('#expression textarea, #expression input').focus()")
    page.write(' & nine')
    click(page, 'Compose')
    said(page, 'is not understood at character')


def test_it_scores_uploads_and_what_the_model_draws(page, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, [32, 32], np.uint8)).save(tmp_path / 'noise.png')
    tab(page, 'Score')
    click(page, 'Score my pictures')
    said(page, 'there are 0 pictures')
    uploaded(page, 'files', tmp_path / 'noise.png')
    assert made(page, 'Score my pictures', 'maps').std() > 10
    said(
        page,
        '0 of 1 pictures are typical of the training images. Atypical, by more than 3 deviations: noise.png',
    )
    shown = made(page, 'Score 4 samples', 'maps')
    assert (shown[..., 0] != shown[..., 2]).any()  # The maps are in colours.
    said(page, 'of 4 pictures are typical')
    said(page, 'sample 3')


@pytest.mark.parametrize('width', [390, 1440])
def test_each_tab_fits_can_be_read_and_loads_nothing_from_elsewhere(chromium, address, width):
    chromium.requests.clear()
    chromium.errors.clear()
    chromium.show(address, width)
    for name in TABS:
        tab(chromium, name)
        if name == 'Inpaint':
            canvas(chromium, an_image)
        assert chromium.value('document.documentElement.scrollWidth') <= width
        for dark in (True, False):
            chromium.dark(dark)
            chromium.wait_for(f"document.body.classList.contains('dark') === {str(dark).lower()}")
            still(chromium)
            assert chromium.faint() == []
    assert len(chromium.requests) > 10
    assert [url for url in chromium.requests if not url.startswith((address, 'data:', 'blob:'))] == []
    assert chromium.errors == []
