"""Serves the app on this machine (--mode=app)."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from drl_tf.api import EnergyModel
from drl_tf.app import limits
from drl_tf.base.errors import UserError
from drl_tf.runs import exported

# The browser loads nothing from elsewhere, whatever the page asks for.
_POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'self'"


class _Policy:
    """ASGI middleware that adds the content security policy to each response."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_policy(message: Any) -> None:
            if message['type'] == 'http.response.start':
                message['headers'] = [*message['headers'], (b'content-security-policy', _POLICY.encode())]
            await send(message)

        await self._app(scope, receive, with_policy)


def serve(directory: str, port: int, places: Mapping[str, str]) -> None:
    """Serves the app for a model until Ctrl-C.

    Args:
      directory: the workdir of a run, or the version directory of an exported model.
      port: port on 127.0.0.1.
      places: where the training images are, which expressions with | (or) read: {option of `LOCAL_PATHS`:
        path}. An exported model does not know it.

    Raises:
      UserError: the model is missing or damaged, or the port is taken.

    Example:
      serve('runs/mine', port=7860, places={'data_dir': 'my_pictures'})
    """
    model = EnergyModel.from_preset(directory)
    model.model.config = model.config.replace(**places)
    source = exported.source(directory)
    name = exported.name_of(source) if source else os.path.basename(os.path.abspath(directory))
    with running(model, name, port) as address, contextlib.suppress(KeyboardInterrupt):
        print(f'{"app":17} {address} (Ctrl-C ends it)', flush=True)
        threading.Event().wait()


@contextlib.contextmanager
def running(model: EnergyModel, name: str, port: int) -> Iterator[str]:
    """Context manager: serves the app, yields its web address, and at the end deletes all uploads.

    Args:
      model: the model.
      name: name of the model, for the title.
      port: port on 127.0.0.1.

    Raises:
      UserError: the port is taken.
    """
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    with tempfile.TemporaryDirectory(prefix='drl_tf_app_') as uploads:
        os.environ['GRADIO_TEMP_DIR'] = uploads
        from starlette.middleware import Middleware

        from drl_tf.app import pages, parts

        page = pages.build(model, name)
        options = {'share': False, 'ssr_mode': False, 'mcp_server': False, 'prevent_thread_lock': True}
        try:
            _, address, _ = page.launch(
                server_name=limits.HOST,
                server_port=port,
                quiet=True,
                show_error=True,
                footer_links=[],
                max_file_size=limits.MOST_BYTES,
                theme=parts.theme(),
                css=parts.CSS,
                app_kwargs={'middleware': [Middleware(_Policy)]},
                **options,
            )
        except OSError as error:
            raise UserError(f'--port={port} cannot be used: give another') from error
        try:
            yield address
        finally:
            page.close(verbose=False)
