"""A headless Chromium that opens pages, presses keys and takes pictures, over the DevTools protocol."""

import asyncio
import base64
import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import tempfile

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
_SECONDS = 60
_KEYS = {'ArrowLeft': 37, 'ArrowRight': 39, 'Home': 36, 'End': 35, 'Tab': 9, 'Enter': 13, ' ': 32}

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
def opened(path, width=1440, height=900):
    """Context manager: yields a `Browser` that shows the file or the address `path`."""
    # Processes of Chromium may still write into the profile while it is deleted.
    profiles = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with profiles as profile, contextlib.closing(asyncio.new_event_loop()) as loop:
        command = [
            CHROMIUM, '--headless=new', '--no-sandbox', '--disable-gpu', '--remote-debugging-port=0',
            f'--user-data-dir={profile}', 'about:blank',
        ]  # fmt: skip
        pipes = {'stderr': subprocess.PIPE, 'stdout': subprocess.DEVNULL}
        with subprocess.Popen(command, text=True, **pipes) as process:
            try:
                browser = Browser(loop, _port(process))
                browser.show(path, width, height)
                yield browser
            finally:
                process.terminate()


def _port(process):
    for line in process.stderr:
        if found := re.search(r'DevTools listening on ws://127\.0\.0\.1:(\d+)/', line):
            return int(found[1])
    raise RuntimeError('Chromium did not start')


class Browser:
    """A page in Chromium. `requests` lists the addresses that the page asked for, `errors` its messages."""

    def __init__(self, loop, port):
        self._loop = loop
        self._number = 0
        self.requests = []
        self.errors = []
        self._socket = self._wait(self._connected(port))
        for domain in ('Page', 'Runtime', 'Network', 'Log'):
            self.call(f'{domain}.enable')

    async def _connected(self, port):
        from tornado.httpclient import AsyncHTTPClient
        from tornado.websocket import websocket_connect

        answer = await AsyncHTTPClient().fetch(f'http://127.0.0.1:{port}/json/list')
        page = next(each for each in json.loads(answer.body) if each['type'] == 'page')
        return await websocket_connect(page['webSocketDebuggerUrl'], max_message_size=2**28)

    def _wait(self, coroutine):
        asyncio.set_event_loop(self._loop)
        return self._loop.run_until_complete(asyncio.wait_for(coroutine, _SECONDS))

    def _note(self, message):
        """Keeps what the page asks for and complains about."""
        method, found = message.get('method'), message.get('params', {})
        if method == 'Network.requestWillBeSent':
            self.requests.append(found['request']['url'])
        if method == 'Runtime.exceptionThrown':
            self.errors.append(found['exceptionDetails'].get('exception', {}).get('description', 'exception'))
        if method == 'Log.entryAdded' and found['entry']['level'] == 'error':
            self.errors.append(found['entry']['text'])
        return method

    async def _answered(self, number, event):
        """Waits for the result of command `number`, and for an event unless it is None, in either order."""
        result, seen = None, event is None
        while result is None or not seen:
            message = json.loads(await self._socket.read_message())
            if message.get('id') == number:
                assert 'error' not in message, message
                result = message['result']
            seen = self._note(message) == event or seen
        return result

    def call(self, method, event=None, **parameters):
        """Result of a command of the protocol; with `event`, waits for this event as well."""
        self._number += 1
        command = {'id': self._number, 'method': method, 'params': parameters}
        self._wait(self._sent(json.dumps(command)))
        return self._wait(self._answered(self._number, event))

    async def _sent(self, text):
        await self._socket.write_message(text)

    def show(self, path, width, height=900):
        """Opens a file or an address in a window of `width` by `height` pixels."""
        size = {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': width < 600}
        self.call('Emulation.setDeviceMetricsOverride', **size)
        url = str(path) if '://' in str(path) else pathlib.Path(path).resolve().as_uri()
        self.call('Page.navigate', event='Page.loadEventFired', url=url)

    def value(self, script):
        """The value of a JavaScript expression, which may be a promise."""
        found = self.call('Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in found, found
        return found['result'].get('value')

    def wait_for(self, script):
        """Waits until a JavaScript expression is true, for half a minute at most."""
        self.value(
            f'new Promise((done, fail) => {{ let left = 600; const look = () => ({script}) ? done(true) : '
            f'(left-- ? setTimeout(look, 50) : fail(Error({json.dumps(script)}))); look(); }})'
        )

    def faint(self):
        """The visible texts whose contrast to their background is below 4.5, with their contrast."""
        return self.value(_FAINT)

    def dark(self, wanted):
        """Asks the pages that are opened from now on for dark colours, or for light ones."""
        scheme = {'name': 'prefers-color-scheme', 'value': 'dark' if wanted else 'light'}
        self.call('Emulation.setEmulatedMedia', features=[scheme])

    def press(self, key):
        """Presses a key on whatever has the focus."""
        code = {'key': key, 'code': 'Space' if key == ' ' else key, 'windowsVirtualKeyCode': _KEYS[key]}
        text = {'text': {' ': ' ', 'Enter': '\r'}[key]} if key in (' ', 'Enter') else {}
        self.call('Input.dispatchKeyEvent', type='keyDown', **code, **text)
        self.call('Input.dispatchKeyEvent', type='keyUp', **code)

    def drag(self, begin, end):
        """Presses the mouse at a point of the window, (x, y), moves it to another one and lets it go."""
        points = [[a + (b - a) * share / 10 for a, b in zip(begin, end, strict=True)] for share in range(11)]
        kinds = ['mouseMoved', 'mousePressed', *['mouseMoved'] * 10, 'mouseReleased']
        for kind, (x, y) in zip(kinds, [points[0], *points, points[-1]], strict=True):
            pressed = {'button': 'left', 'buttons': 1, 'clickCount': 1} if kind != 'mouseMoved' else {}
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, **pressed)

    def give(self, selector, paths):
        """Chooses files in a file input."""
        root = self.call('DOM.getDocument')['root']['nodeId']
        node = self.call('DOM.querySelector', nodeId=root, selector=selector)['nodeId']
        self.call('DOM.setFileInputFiles', nodeId=node, files=[str(path) for path in paths])

    def picture(self, path):
        """Writes the whole page as PNG."""
        found = self.call(
            'Page.captureScreenshot', format='png', captureBeyondViewport=True, clip=self._whole()
        )
        pathlib.Path(path).write_bytes(base64.b64decode(found['data']))

    def _whole(self):
        size = self.call('Page.getLayoutMetrics')['cssContentSize']
        return {'x': 0, 'y': 0, 'width': size['width'], 'height': size['height'], 'scale': 1}
