"""Parts that the tabs of the app share: buttons, input fields, and how work starts and stops."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
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
.tab-container > button.selected {color: var(--primary-700) !important}
.dark .tab-container > button.selected {color: var(--primary-300) !important}
.pixels img {image-rendering: pixelated}
"""


class _Stopped(UserError):
    """The user has pressed Stop."""


class App:
    """Builds the fields and buttons of the page, and runs their work, one request at a time.

    Args:
      model: the model of the app.
    """

    def __init__(self, model: EnergyModel):
        self.model = model
        self._one_at_a_time = threading.Lock()
        self._stops: dict[str | None, list[threading.Event]] = {}  # Of all work of each open page.
        self._work: list[Any] = []
        self._stop_buttons: list[gr.Button] = []

    def run(
        self,
        trigger: Callable | Sequence[Callable],
        function: Callable,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        progress_on: gr.components.Component | None = None,
    ) -> None:
        """Makes a button or other component call `function` and show its results.

        Args:
          trigger: event of a component, such as `button.click`, or several events.
          function: callable that gets the value of each input, and as its last argument a callable
            `progress(share, text)`: the share of the work done, 0 to 1, and what is being done. Call
            `progress` often: after the user has pressed the button "Stop", it raises an error, which ends the
            work. `function` returns the value of the output; of several outputs, a tuple of their values.
          inputs: components whose values `function` gets.
          outputs: components that show the values that `function` returns.
          progress_on: component that shows the progress; None: the outputs.
        """

        def handler(
            values: dict,
            request: gr.Request,
            progress: gr.Progress = gr.Progress(),  # noqa: B008
        ) -> Any:
            def show(share: float, what: str) -> None:
                if stop.is_set():
                    raise _Stopped('stopped')
                progress(share, desc=what)

            try:
                with self.stoppable(request) as stop, self._one_at_a_time:
                    return function(*(values[each] for each in inputs), show)
            except _Stopped:
                return gr.skip()
            except UserError as error:
                raise gr.Error(str(error), print_exception=False) from error

        triggers = [trigger] if callable(trigger) else list(trigger)
        options: dict[str, Any] = {'concurrency_id': 'model', 'concurrency_limit': 1}
        options |= {'api_visibility': 'private', 'show_progress_on': progress_on}
        self.cancels(gr.on(triggers, handler, set(inputs), list(outputs), **options))

    @contextlib.contextmanager
    def stoppable(self, request: gr.Request) -> Iterator[threading.Event]:
        """Context manager for work that the button "Stop" can end: yields an event, which the button sets.

        The work in the block must look at the event from time to time, and end when it is set.

        Args:
          request: the request that the work answers. Only "Stop" on the page that sent it sets the event.
        """
        stop = threading.Event()
        self._stops.setdefault(request.session_hash, []).append(stop)
        try:
            yield stop
        finally:
            self._stops[request.session_hash].remove(stop)
            if not self._stops[request.session_hash]:
                del self._stops[request.session_hash]

    def stop(self, request: gr.Request) -> bool:
        """Sets the event of all `stoppable` work of the page of a request; returns whether there is any."""
        works = self._stops.get(request.session_hash, [])
        for work in works:
            work.set()
        return bool(works)

    def cancels(self, work: Any) -> None:
        """Makes the button "Stop" cancel the work of a Gradio event; call this before `connect_stop`.

        Args:
          work: the event, as returned by `button.click(..)` or another method that connects a function.
        """
        self._work.append(work)

    def buttons(self, *texts: str) -> list[gr.Button]:
        """Adds a row with a button for each text and a button "Stop"; returns the buttons of the texts."""
        with gr.Row():
            made = [gr.Button(text, variant='primary') for text in texts]
            self._stop_buttons.append(gr.Button('Stop', variant='stop'))
        return made

    def connect_stop(self) -> None:
        """Makes each button "Stop" end all work of the page; call this last when building the page."""

        def pressed(request: gr.Request) -> None:
            if self.stop(request):
                gr.Info('Stopped.')

        for button in self._stop_buttons:
            button.click(pressed, cancels=self._work, concurrency_limit=None, api_visibility='private')

    def label(self, title: str = 'Class', start: int = -1, in_turn: bool = False) -> gr.Dropdown:
        """Adds a field to choose a class; the field is hidden if the model has no classes.

        Args:
          title: title of the field.
          start: the class chosen at first, from 0; -1: no class. Ignored with `in_turn`.
          in_turn: whether the field also offers that the images take all classes in turn. This is then chosen
            at first.

        Returns:
          The field. Its value is the class, from 0; -1 for no class; `actions.IN_TURN` for all in turn.
        """
        choices = [('no class', -1), *((str(label), label) for label in range(self.model.num_classes))]
        if in_turn:
            choices, start = [('all in turn', actions.IN_TURN), *choices], actions.IN_TURN
        start = min(start, self.model.num_classes - 1)
        return gr.Dropdown(choices, value=start, label=title, visible=bool(self.model.num_classes))

    def guidance(self) -> gr.Slider:
        """Adds a slider for the weight of guidance, which is hidden if the model has no classes.

        It goes from -1 to 5, or to the guidance of the model's configuration if that is larger.
        """
        start = self.model.config.sampling.guidance
        return gr.Slider(
            -1, max(5, start), start, step=0.1, label='Guidance w', visible=bool(self.model.num_classes)
        )


def seed() -> gr.Number:
    """Adds a field for the seed, a whole number from 0 to 2^31 - 1."""
    return gr.Number(0, label='Seed', precision=0, minimum=0, maximum=2**31 - 1)


def picture(label: str, name: str) -> gr.Image:
    """Adds a component to the page that shows a picture, such as the result of some work.

    Args:
      label: description of the picture.
      name: HTML id of the component.

    Returns:
      The component, an output for `App.run`. Its value is a PIL image.
    """
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
    """Returns a Gradio theme with readable colours and the system's fonts, so that no font is downloaded."""
    base = gr.themes.Soft(
        font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace'], primary_hue='indigo'
    )
    # In `Soft`, some texts have a contrast below 4.5 to their background, and empty boxes are hardly seen.
    return base.set(
        background_fill_primary='*neutral_50',
        block_label_text_color='*primary_700',
        block_title_text_color='*primary_700',
        body_text_color_subdued='*neutral_600',
        body_text_color_subdued_dark='*neutral_300',
        button_primary_background_fill='*primary_600',
        button_primary_background_fill_hover='*primary_700',
        checkbox_border_color='*neutral_500',
        checkbox_label_background_fill_selected='*primary_600',
        input_border_color='*neutral_300',
        input_border_width='1px',
    )
