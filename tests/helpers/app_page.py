"""Clicks, chooses and uploads on the page of the app, and reads the pictures and messages that it shows."""

import numpy as np

FOUND = (
    "[...document.querySelectorAll('button{}')].find(b => b.offsetParent && b.textContent.trim() === '{}')"
)


def click(chromium, text, kind='.lg'):
    """Waits for the visible button with this text, and clicks it; `kind` is its CSS selector."""
    chromium.wait_for(FOUND.format(kind, text))
    chromium.value(FOUND.format(kind, text) + '.click()')


def tab(chromium, text):
    """Opens a tab, and waits half a second until it is drawn."""
    click(chromium, text, '[role=tab]')
    chromium.value('new Promise(done => setTimeout(done, 500))')


def source(name):
    """Returns the JavaScript expression for the address of the picture in the element with this id."""
    return f"(document.querySelector('#{name} img') || {{}}).src"


def choose(chromium, text):
    """Clicks the radio button with this text."""
    chromium.value(
        "[...document.querySelectorAll('label')]"
        f".find(e => e.offsetParent && e.innerText.trim() === '{text}').click()"
    )


def made(chromium, button, name):
    """Clicks a button, and returns the new picture in an element, uint8 [h, w, 3]."""
    before = chromium.value(source(name))
    click(chromium, button)
    chromium.wait_for(f'{source(name)} && {source(name)} !== {before!r}'.replace('None', 'null'))
    return pixels(chromium, name)


def pixels(chromium, name):
    """Returns the picture in the element with this id, uint8 [h, w, 3]."""
    script = (
        f"(async () => {{ const i = document.querySelector('#{name} img'); await i.decode(); "
        "const c = document.createElement('canvas'); c.width = i.naturalWidth; c.height = i.naturalHeight; "
        "const d = c.getContext('2d'); d.drawImage(i, 0, 0); "
        'return [c.height, c.width, ...d.getImageData(0, 0, c.width, c.height).data] })()'
    )
    height, width, *values = chromium.value(script)
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def stop(chromium):
    """Clicks Stop, waits for its message, and closes it: the next one must not be taken for it."""
    click(chromium, 'Stop')
    said(chromium, 'Stopped.')
    chromium.value("document.querySelectorAll('.toast-close').forEach(button => button.click())")
    chromium.wait_for("!document.body.innerText.includes('Stopped.')")


def said(chromium, words):
    """Waits until the page shows these words."""
    chromium.wait_for(f'document.body.innerText.includes({words!r})')


def uploaded(chromium, name, path):
    """Drops a file, and waits until the page lists it."""
    chromium.give(f'#{name} input[type=file]', [path])
    chromium.wait_for(f"document.querySelector('#{name}').innerText.includes({path.stem!r})")
