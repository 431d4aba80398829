"""A headless Chromium that opens pages, presses keys and takes pictures, driven by Playwright."""

import contextlib
import io
import pathlib
import shutil

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
_MILLISECONDS = 60_000

# Spinners and the like would be painted 60 times a second, on the cores of the tests.
_STILL = """(() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync('*, ::before, ::after { animation: none !important; transition: none !important }');
  document.adoptedStyleSheets.push(sheet);
})()"""

# The visible texts whose contrast to the background is below 4.5 (WCAG 2.2, 1.4.3), with their contrast.
_FAINT = """(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const over = (top, below) => {
    const alpha = top[3] ?? 1;
    return [0, 1, 2].map((i) => top[i] * alpha + below[i] * (1 - alpha));
  };
  const background = (element) => element
    ? over(parts(getComputedStyle(element).backgroundColor), background(element.parentElement))
    : [255, 255, 255];
  const linear = (value) => (value <= 10 ? value / 3294 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = (rgb) => 0.2126 * linear(rgb[0]) + 0.7152 * linear(rgb[1]) + 0.0722 * linear(rgb[2]);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility({ checkOpacity: true })) continue;
    const below = background(element);
    const both = [over(parts(getComputedStyle(element).color), below), below].map(luminance);
    const contrast = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    if (contrast < 4.5) found.push(`${contrast.toFixed(2)} ${text}`);
  }
  return found;
})()"""


@contextlib.contextmanager
def opened():
    """Context manager: yields a `Browser` with an empty page."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu']
        )
        yield Browser(chromium.new_page())
        chromium.close()


class Browser:
    """A page in Chromium. `requests` lists the addresses that the page asked for, `errors` its messages."""

    def __init__(self, page):
        self.page = page
        self.requests = []
        self.errors = []
        page.add_init_script(_STILL)
        page.set_default_timeout(_MILLISECONDS)
        page.on('request', lambda request: self.requests.append(request.url))
        page.on('pageerror', lambda error: self.errors.append(str(error)))
        page.on('console', lambda message: message.type == 'error' and self.errors.append(message.text))

    def show(self, path, width, height=900):
        """Opens a file or an address in a window of `width` by `height` pixels."""
        self.page.set_viewport_size({'width': width, 'height': height})
        self.page.goto(str(path) if '://' in str(path) else pathlib.Path(path).resolve().as_uri())

    def value(self, script):
        """The value of a JavaScript expression, which may be a promise."""
        return self.page.evaluate(script)

    def wait_for(self, script):
        """Waits until a JavaScript expression is true, for a minute at most.

        Playwright's own `wait_for_function` needs eval, which the pages forbid. Waiting inside the page costs
        less than asking again from here.
        """
        waiting = (
            f'(async () => {{ const end = Date.now() + {_MILLISECONDS}; while (!({script})) {{ '
            'if (Date.now() > end) return false; await new Promise(done => setTimeout(done, 50)) } '
            'return true })()'
        )
        assert self.value(waiting), f'not true within a minute: {script}'

    def faint(self):
        """The visible texts whose contrast to their background is below 4.5, with their contrast."""
        return self.value(_FAINT)

    def dark(self, wanted):
        """Asks pages for dark colours, or for light ones."""
        self.page.emulate_media(color_scheme='dark' if wanted else 'light')

    def press(self, key):
        """Presses a key on whatever has the focus."""
        self.page.keyboard.press(key)

    def write(self, text):
        """Inserts text where the cursor is."""
        self.page.keyboard.insert_text(text)

    def drag(self, begin, end):
        """Presses the mouse at a point of the window, (x, y), moves it to another one and lets it go."""
        self.page.mouse.move(*begin)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=3)
        self.page.mouse.up()

    def give(self, selector, paths):
        """Chooses files in a file input."""
        self.page.set_input_files(selector, [str(path) for path in paths])

    def box(self, selector):
        """x, y, width and height, in the window, of the first element that the selector finds."""
        box = self.page.locator(selector).first.bounding_box()
        return box['x'], box['y'], box['width'], box['height']

    def seen(self, selector):
        """What the window shows where the first element that the selector finds is, uint8 [h, w, 3]."""
        with Image.open(io.BytesIO(self.page.locator(selector).first.screenshot())) as picture:
            return np.asarray(picture.convert('RGB'))
