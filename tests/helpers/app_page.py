"""Clicks, chooses and uploads on the page of the app, and reads the pictures and messages that it shows."""

import base64
import io

import numpy as np
from PIL import Image

FOUND = (
    "[...document.querySelectorAll('button{}')].find(b => b.offsetParent && b.textContent.trim() === '{}')"
)


def click(chromium, text, kind='.lg'):
    """Waits for the visible button with this text, and clicks it; `kind` is its CSS selector."""
    chromium.wait_for(FOUND.format(kind, text))
    chromium.value(FOUND.format(kind, text) + '.click()')


def tab(chromium, text):
    """Opens a tab, and waits until all of it is drawn; each tab has a button Stop."""
    click(chromium, text, '[role=tab]')
    chromium.wait_for(
        f"document.querySelector('[role=tab][aria-selected=true]').textContent.trim() === '{text}' "
        f'&& {FOUND.format("", "Stop")}'
    )
    still(chromium)


def still(chromium):
    """Waits until nothing on the page moves or changes its colour."""
    chromium.wait_for("document.getAnimations().every(each => each.playState !== 'running')")


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
        "c.getContext('2d').drawImage(i, 0, 0); return c.toDataURL().split(',')[1] })()"
    )
    with Image.open(io.BytesIO(base64.b64decode(chromium.value(script)))) as picture:
        return np.asarray(picture.convert('RGB'))


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


def cleared(chromium, name):
    """Takes the dropped files away again."""
    chromium.value(f"document.querySelector('#{name} button[aria-label=Clear]').click()")
    chromium.wait_for(f"document.querySelector('#{name}').innerText.includes('Drop File Here')")
