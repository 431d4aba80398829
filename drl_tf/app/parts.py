"""Parts that the tabs of the app share: buttons, input fields, and how work starts and stops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from drl_tf.api import EnergyModel
from drl_tf.app import actions
from drl_tf.base.errors import UserError

CSS = """
.gradio-container {width: 100% !important; max-width: 1100px !important; margin: auto}
@media (max-width: 600px) {
  .gradio-container > .main {padding: 12px !important}
  .tab-container > button {padding: 0 8px !important}
}
.pixels img {image-rendering: pixelated}
"""


class _Stopped(UserError):
    """The user has pressed Stop."""


class App:
    """The model of the app, and the request that runs; only one request runs at a time."""

    def __init__(self, model: EnergyModel):
        self.model = model
        self._stop = threading.Event()

    def run(
        self, button: gr.Button, function: Callable, inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> None:
        """Makes a click on a button call a function.

        Args:
          button: the button.
          function: callable, (*values of `inputs`, progress) -> values for `outputs`.
          inputs: fields of the page.
          outputs: fields of the page.
        """

        def handler(values: dict, progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008
            def show(share: float, what: str) -> None:
                if self._stop.is_set():
                    raise _Stopped('stopped')
                progress(share, desc=what)

            self._stop.clear()
            try:
                return function(*(values[each] for each in inputs), show)
            except _Stopped:
                gr.Info('Stopped.')
                return gr.skip()
            except UserError as error:
                raise gr.Error(str(error), print_exception=False) from error

        button.click(
            handler,
            set(inputs),
            list(outputs),
            concurrency_id='model',
            concurrency_limit=1,
            api_visibility='private',
        )

    def buttons(self, *texts: str) -> list[gr.Button]:
        """Adds a button for each text, and a button "Stop" that stops the request that runs."""
        with gr.Row():
            made = [gr.Button(text, variant='primary') for text in texts]
            gr.Button('Stop', variant='stop').click(self._stop.set, queue=False, api_visibility='private')
        return made

    def label(self, title: str = 'Class', in_turn: bool = True) -> gr.Dropdown:
        """Adds a field to choose a class, which is hidden if the model has no classes."""
        choices = [('no class', -1), *((str(label), label) for label in range(self.model.num_classes))]
        choices = [('all in turn', actions.IN_TURN), *choices] if in_turn else choices
        return gr.Dropdown(choices, value=choices[0][1], label=title, visible=bool(self.model.num_classes))

    def guidance(self) -> gr.Slider:
        """Adds a field for the guidance w, which is hidden if the model has no classes."""
        start = self.model.config.sampling.guidance
        return gr.Slider(-1, 5, start, step=0.1, label='Guidance w', visible=bool(self.model.num_classes))


def seed() -> gr.Number:
    """Adds a field for the seed."""
    return gr.Number(0, label='Seed', precision=0, minimum=0, maximum=2**31 - 1)


def picture(label: str, name: str) -> gr.Image:
    """Adds a place for a picture; `name` is its HTML id."""
    return gr.Image(
        label=label,
        show_label=False,
        elem_id=name,
        type='pil',
        format='png',
        interactive=False,
        elem_classes='pixels',
        buttons=['download'],
    )


def theme() -> gr.themes.Base:
    """Returns a Gradio theme with fonts of the system, so that no font is downloaded."""
    return gr.themes.Soft(
        font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace'], primary_hue='indigo'
    )
