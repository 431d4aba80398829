"""What a user does on the page of the app, and what the page then shows."""

import numpy as np

FOUND = (
    "[...document.querySelectorAll('button{}')].find(b => b.offsetParent && b.textContent.trim() === '{}')"
)


def click(chromium, text, kind='.lg'):
    chromium.wait_for(FOUND.format(kind, text))
    chromium.value(FOUND.format(kind, text) + '.click()')


def tab(chromium, text):
    click(chromium, text, '[role=tab]')
    chromium.value('new Promise(done => setTimeout(done, 500))')


def source(name):
    return f"(document.querySelector('#{name} img') || {{}}).src"


def choose(chromium, text):
    """Clicks a choice of a radio."""
    chromium.value(
        "[...document.querySelectorAll('label')]"
        f".find(e => e.offsetParent && e.innerText.trim() === '{text}').click()"
    )


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


def uploaded(chromium, name, path):
    """Drops a file, and waits until the page lists it."""
    chromium.give(f'#{name} input[type=file]', [path])
    chromium.wait_for(f"document.querySelector('#{name}').innerText.includes({path.stem!r})")
