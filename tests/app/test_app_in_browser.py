"""The app in a real browser: each of its functions, bad uploads, widths, and that it loads nothing else."""

import socket
import threading

import numpy as np
import pytest
from helpers import browser
from helpers.app_page import FOUND, choose, click, made, pixels, said, source, stop, tab, uploaded
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
    with browser.opened(address) as opened:
        yield opened


@pytest.fixture(autouse=True)
def page(chromium, address):
    chromium.show(address, 1440)
    chromium.wait_for(FOUND.format('', 'Draw'))


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


def test_it_draws_and_the_slider_shows_the_way_from_noise(chromium):
    last = made(chromium, 'Draw', 'drawn')
    assert 384 <= max(last.shape) < 500 and last.std() > 50
    chromium.value("document.querySelector('#position input[type=range]').focus()")
    before = chromium.value(source('drawn'))
    chromium.press('Home')
    chromium.wait_for(f'{source("drawn")} !== {before!r}')
    noisy = pixels(chromium, 'drawn')
    assert noisy.shape == last.shape and (noisy != last).mean() > 0.2


def test_play_shows_each_state_from_noise_to_image(chromium):
    click(chromium, 'Play')
    said(chromium, 'nothing to play yet')
    last = made(chromium, 'Draw', 'drawn')
    chromium.value(
        "window.seen = []; const picture = document.querySelector('#drawn img'); "
        'new MutationObserver(() => window.seen.push(picture.src))'
        ".observe(picture, {attributes: true, attributeFilter: ['src']})"
    )
    click(chromium, 'Play')
    chromium.wait_for('new Set(window.seen).size === 7')
    shown = pixels(chromium, 'drawn')
    assert shown.shape == last.shape and (shown == last).all()
    assert chromium.value("document.querySelector('#position input[type=range]').value") == '6'


def test_stop_ends_playing(chromium, monkeypatch):
    from drl_tf.app import pages

    monkeypatch.setattr(pages, '_FRAME_SECONDS', 600)
    made(chromium, 'Draw', 'drawn')
    for _ in range(2):  # Were the first play not over, the second could not begin.
        last = chromium.value(source('drawn'))
        click(chromium, 'Play')
        chromium.wait_for(f'{source("drawn")} !== {last!r}')
        stop(chromium)
        assert made(chromium, 'Draw', 'drawn').std() > 50


@pytest.mark.parametrize(
    ('name', 'picture'), [('Draw', 'drawn'), ('Inpaint', 'inpainted'), ('Blend', 'blended')]
)
def test_stop_ends_the_work_before_its_next_part(chromium, monkeypatch, name, picture):
    tab(chromium, name)
    if name == 'Inpaint':
        choose(chromium, 'the lower half')
    gate = Gate(2)
    with monkeypatch.context() as patch:
        patch.setattr(gradio.Progress, '__call__', gate.pass_through)
        click(chromium, name)
        assert gate.reached.wait(60)
        stop(chromium)
        gate.opened.set()
    assert chromium.value(source(picture)) is None
    # The next request waits until the stopped one has ended.
    assert made(chromium, name, picture).std() > 50
    assert gate.calls == 2


def middle_of_the_canvas(chromium):
    """x, y of the middle, and the width, of the canvas for painting, once it has its size."""
    chromium.wait_for("(document.querySelector('#editor canvas') || {}).offsetWidth > 100")
    chromium.value('new Promise(done => setTimeout(done, 1500))')
    return chromium.value(
        "(() => { const e = document.querySelector('#editor canvas'); e.scrollIntoView({block: 'center'}); "
        'const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2, b.width] })()'
    )


def cells_of(picture, rows=2, columns=2):
    """Cuts a sheet into its images."""
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    return [
        picture[height * row : height * (row + 1), width * column : width * (column + 1)]
        for row in range(rows)
        for column in range(columns)
    ]


def test_it_inpaints_what_is_painted(chromium):
    tab(chromium, 'Inpaint')
    x, y, width = middle_of_the_canvas(chromium)
    click(chromium, 'Inpaint')
    said(chromium, 'nothing is painted')
    chromium.drag((x - 0.2 * width, y), (x + 0.2 * width, y))
    chromium.value('new Promise(done => setTimeout(done, 1000))')
    results = cells_of(made(chromium, 'Inpaint', 'inpainted'))
    changes = np.std(results, axis=0).max(axis=-1)
    rows = np.flatnonzero(changes.max(axis=1))
    middle = len(changes) / 2
    assert 0 < len(rows) < middle and abs(rows.mean() - middle) < middle / 2


def test_it_inpaints_an_upload(chromium, tmp_path):
    grey = np.zeros([60, 40], np.uint8)
    grey[:, 16:24] = 255
    Image.fromarray(grey).save(tmp_path / 'stroke.png')
    tab(chromium, 'Inpaint')
    middle_of_the_canvas(chromium)
    uploaded(chromium, 'upload', tmp_path / 'stroke.png')
    chromium.value('new Promise(done => setTimeout(done, 2000))')
    choose(chromium, 'the lower half')
    for result in cells_of(made(chromium, 'Inpaint', 'inpainted')):
        upper = result[4 : len(result) // 2 - 4, 4:-4, 0]
        assert upper[:, len(upper[0]) // 2].min() > 240 and upper[:, :40].max() < 15


def test_it_draws_another_image_each_time(chromium):
    tab(chromium, 'Inpaint')
    choose(chromium, 'the lower half')
    shown = []
    for _ in range(2):
        click(chromium, 'Draw another image')
        chromium.value('new Promise(done => setTimeout(done, 2000))')
        shown.append(made(chromium, 'Inpaint', 'inpainted'))
    upper = [each[: len(each) // 4] for each in shown]
    assert (upper[0] != upper[1]).any()


@pytest.mark.parametrize('where', ['Inpaint', 'Score'])
def test_pictures_that_cannot_be_used_are_refused(chromium, tmp_path, where):
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
    for name, line in lines.items():
        chromium.show(chromium.value('location.href'), 1440)
        tab(chromium, where)
        uploaded(chromium, {'Inpaint': 'upload', 'Score': 'files'}[where], tmp_path / name)
        if where == 'Score':
            click(chromium, 'Score my pictures')
        said(chromium, line)
        assert line in chromium.value('document.body.innerText')


def test_it_blends(chromium):
    tab(chromium, 'Blend')
    assert made(chromium, 'Blend', 'blended').std() > 50


def test_it_composes_and_refuses_what_is_no_expression(chromium):
    tab(chromium, 'Compose')
    assert made(chromium, 'Compose', 'composed').std() > 50
    chromium.value("document.querySelector('#expression textarea, #expression input').focus()")
    chromium.write(' & nine')
    click(chromium, 'Compose')
    said(chromium, 'is not understood at character')


def test_it_scores_uploads(chromium, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, [32, 32], np.uint8)).save(tmp_path / 'noise.png')
    tab(chromium, 'Score')
    click(chromium, 'Score my pictures')
    said(chromium, 'there are 0 pictures')
    uploaded(chromium, 'files', tmp_path / 'noise.png')
    assert made(chromium, 'Score my pictures', 'maps').std() > 10
    said(
        chromium,
        '0 of 1 pictures are typical of the training images. Atypical, by more than 3 deviations: noise.png',
    )


def test_it_scores_what_the_model_draws(chromium):
    tab(chromium, 'Score')
    shown = made(chromium, 'Score 4 samples', 'maps')
    assert (shown[..., 0] != shown[..., 2]).any()  # The maps are in colours.
    said(chromium, 'of 4 pictures are typical')
    said(chromium, 'sample 3')


def test_an_upload_that_is_too_large_is_refused(chromium, tmp_path):
    (tmp_path / 'large.png').write_bytes(b'0' * (limits.MOST_BYTES + 1))
    tab(chromium, 'Score')
    chromium.give('#files input[type=file]', [tmp_path / 'large.png'])
    said(chromium, 'exceed the maximum allowed size')
    assert 'large' not in chromium.value("document.querySelector('#files').innerText")


@pytest.mark.parametrize('width', [390, 1440])
def test_each_tab_fits_and_loads_nothing_from_elsewhere(chromium, address, width):
    chromium.requests.clear()
    chromium.errors.clear()
    chromium.show(address, width)
    for name in TABS:
        tab(chromium, name)
        assert chromium.value('document.documentElement.scrollWidth') <= width
    assert len(chromium.requests) > 10
    assert [url for url in chromium.requests if not url.startswith((address, 'data:', 'blob:'))] == []
    assert chromium.errors == []


@pytest.mark.parametrize('dark', [False, True])
def test_texts_have_enough_contrast(chromium, address, dark):
    chromium.dark(dark)
    try:
        chromium.show(address, 1440)
        for name in TABS:
            tab(chromium, name)
            assert chromium.faint() == []
    finally:
        chromium.dark(False)
