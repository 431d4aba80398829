"""The page of the app, made with Gradio: a tab for each thing that a model can do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from drl_tf.api import EnergyModel
from drl_tf.app import actions, limits, parts, showing, uploads
from drl_tf.app.actions import Choice
from drl_tf.base import arguments
from drl_tf.base.errors import UserError

_EDITOR = 320  # Pixels: side of the canvas for painting.
FRAME_SECONDS = 0.4
_INVERT = 'Invert: dark ink on white paper'
_DRAW_ANY = 'Draws new images from noise. The slider below them, and Play, show the way there.'
_DRAW = f'{_DRAW_ANY} Guidance above 0 makes the class clearer, and the images more alike.'
_INPAINT = (
    'Paint over a part of the image, then press *Inpaint*: the model draws this part anew, in several ways. '
    'You may also drop a picture of your own below, or let the model draw another image.'
)
_BLEND = 'Goes from one sample of the model to another, also from class to class. Samples count from 0.'
_COMPOSE = 'Draws from several classes at once: `&` is and, `|` is or, `!` is not; brackets group.'
_SCORE = (
    'Says how likely pictures are under the model, and where they are unlikely. Lower energies are likelier. '
    'A typicality above 3 standard deviations is rare among training images.'
)
_KINDS = ['.png', '.jpg', '.jpeg', '.gif', '.bmp', '.webp']
_MASKS = [
    ('what I paint on the image', uploads.PAINTED),
    ('the lower half', uploads.HALF),
    ('70 % of the pixels, at random', uploads.RANDOM),
]


def build(model: EnergyModel, name: str) -> gr.Blocks:
    """Builds the web page of the app for a model, with tabs to draw, inpaint, blend, compose and score.

    Args:
      model: the model. If it draws points of the plane, the page has only the tab to draw.
      name: name of the model, for the title.

    Returns:
      The page; its method `launch` serves it.

    Example:
      build(EnergyModel.from_preset('digits'), 'digits').launch()
    """
    app = parts.App(model)
    height, width, channels = model.image_shape
    colours = 'grey' if channels == 1 else 'colour'
    images = f'{colours} images of {height} x {width} pixels'
    kind = 'points of the plane' if model.config.planar else images
    classes = f', {model.num_classes} classes' if model.num_classes else ''
    with gr.Blocks(title=f'drl_tf: {name}', analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(f'# {name}\nAn energy-based model of {kind}{classes}, {model.num_levels} noise levels.')
        with gr.Tab('Draw'):
            _draw(app)
        if not model.config.planar:
            with gr.Tab('Inpaint'):
                _inpaint(app)
            with gr.Tab('Blend'):
                _blend(app)
            with gr.Tab('Compose', visible=bool(model.num_classes)):
                _compose(app)
            with gr.Tab('Score'):
                _score(app)
        app.connect_stop()
    page.queue(max_size=limits.MOST_WAITING, api_open=False)
    return page


def _draw(app: parts.App) -> None:
    """Makes the tab that draws images and plays their way from noise."""
    model = app.model
    most = actions.most_images(model)
    gr.Markdown(_DRAW if model.num_classes else _DRAW_ANY)
    with gr.Row():
        label, guidance, seed = app.label(in_turn=True), app.guidance(), parts.seed()
    with gr.Row():
        start = most if model.config.planar else min(most, 9)
        num = gr.Slider(1, most, start, step=1, label='Images')
        walk = model.config.sampling.sampling_levels or model.num_levels
        levels = gr.Slider(1, model.num_levels, walk, step=1, label='Noise levels to visit')
    (button,) = app.buttons('Draw')
    picture = parts.picture('Images', 'drawn')
    with gr.Row(equal_height=True):
        position = gr.Slider(
            0, 1, 0, step=1, label='From noise (0) to image', elem_id='position', interactive=True, scale=4
        )
        play = gr.Button('Play', scale=1)
    frames = gr.State([])

    def draw(label: int, guidance: float, seed: int, num: int, levels: int, progress: Any) -> Any:
        choice = Choice(label, guidance if model.num_classes else 0.0, seed, num, levels)
        shown = [showing.sheet(state) for state in actions.draw(model, choice, progress)[1]]
        last = len(shown) - 1
        return shown[-1], shown, gr.Slider(maximum=max(last, 1), value=last)

    def played(shown: list, request: gr.Request) -> Iterator[Any]:
        if not shown:
            gr.Info('There is nothing to play yet: draw first.')
        with app.stoppable(request) as stop:
            for index, frame in enumerate(shown):
                yield frame, index
                if stop.wait(FRAME_SECONDS):
                    return

    app.run(button.click, draw, [label, guidance, seed, num, levels], [picture, frames, position])
    quiet = {'show_progress': 'hidden', 'api_visibility': 'private'}
    app.cancels(play.click(played, frames, [picture, position], **quiet))
    position.input(lambda at, shown: shown[int(at)] if shown else None, [position, frames], picture, **quiet)


def _editor(picture: Image.Image) -> gr.ImageEditor:
    """Makes a canvas for painting over a picture."""
    return gr.ImageEditor(
        picture,
        label='Image',
        elem_id='editor',
        type='numpy',
        format='png',
        sources=(),
        transforms=(),
        layers=False,
        canvas_size=(_EDITOR, _EDITOR),
        height=_EDITOR + 40,
        brush=gr.Brush(default_size=40, colors=['#ff2d55'], color_mode='fixed'),
    )


def _for_editor(found: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """Returns a picture of an image, as large as the editor, and the image itself."""
    picture = showing.sheet(found[None]).convert('RGB')
    return picture.resize([_EDITOR, _EDITOR], Image.Resampling.NEAREST), found


def _inpaint(app: parts.App) -> None:
    """Makes the tab that replaces pixels of an image, drawn or uploaded."""
    model = app.model
    first, found = _for_editor(model.generate(1)[0])
    image, drawn = gr.State(found), gr.State(0)
    gr.Markdown(_INPAINT)
    with gr.Row():
        with gr.Column():
            editor = _editor(first)
            kind = gr.Radio(_MASKS, value=uploads.PAINTED, label='Pixels to replace')
            (button,) = app.buttons('Inpaint')
        with gr.Column():
            picture = parts.picture('Results', 'inpainted')
            label, guidance, seed = app.label(), app.guidance(), parts.seed()
            num = gr.Slider(1, limits.MOST_RESULTS, 4, step=1, label='Results')
    with gr.Row():
        upload = gr.File(label='A picture of your own', elem_id='upload', file_types=_KINDS, height=150)
        with gr.Column():
            invert = gr.Checkbox(label=_INVERT)
            another = gr.Button('Draw another image')

    def uploaded(path: str | None, invert: bool, progress: Any) -> Any:
        return _for_editor(uploads.read_picture(path, model.image_shape, invert)) if path else gr.skip()

    def draw_another(label: int, drawn: int, progress: Any) -> Any:
        drawn += 1
        label = label if label >= 0 else drawn % max(1, model.num_classes)
        images, _ = actions.draw(model, Choice(label, seed=drawn, num=1), progress)
        return *_for_editor(images[0]), drawn

    def inpaint(found, painted, kind, label, guidance, seed, num, progress):
        choice = Choice(label, guidance if label >= 0 else 0.0, seed, num)
        hole = uploads.missing(model.image_shape, kind, painted, arguments.number('seed', seed, 0))
        return showing.sheet(actions.inpaint(model, found, hole, choice, progress))

    # On the editor, Gradio leaves the progress after the work has ended, so that nobody can paint.
    app.run([upload.upload, invert.input], uploaded, [upload, invert], [editor, image], picture)
    app.run(another.click, draw_another, [label, drawn], [editor, image, drawn], picture)
    app.run(button.click, inpaint, [image, editor, kind, label, guidance, seed, num], [picture])


def _blend(app: parts.App) -> None:
    """Makes the tab that goes from one sample to another."""
    model = app.model
    gr.Markdown(_BLEND)
    with gr.Row():
        begin = gr.Number(0, label='First sample', precision=0, minimum=0)
        first = app.label('Its class', start=0)
        end = gr.Number(1, label='Last sample', precision=0, minimum=0)
        last = app.label('Its class', start=1)
    with gr.Row():
        guidance, seed = app.guidance(), parts.seed()
        frames = gr.Slider(2, limits.MOST_IMAGES, 9, step=1, label='Images')
    (button,) = app.buttons('Blend')
    picture = parts.picture('From the first to the last, line by line', 'blended')

    def blend(begin, first, end, last, guidance, seed, frames, progress):
        weight = guidance if model.num_classes else 0.0
        ends = Choice(first, weight, seed, begin), Choice(last, weight, seed, end)
        return showing.sheet(actions.blend(model, *ends, frames, progress))

    app.run(button.click, blend, [begin, first, end, last, guidance, seed, frames], [picture])


def _compose(app: parts.App) -> None:
    """Makes the tab that draws from an expression over classes."""
    gr.Markdown(_COMPOSE)
    with gr.Row():
        text = gr.Textbox('3 & !8', elem_id='expression', label='Expression', max_length=limits.MOST_LETTERS)
        num = gr.Slider(1, limits.MOST_IMAGES, 9, step=1, label='Images')
        seed = parts.seed()
    (button,) = app.buttons('Compose')
    picture = parts.picture('Images', 'composed')

    def compose(text: str, num: int, seed: int, progress: Any) -> Any:
        return showing.sheet(actions.compose(app.model, text, num, seed, progress))

    app.run(button.click, compose, [text, num, seed], [picture])


def _score(app: parts.App) -> None:
    """Makes the tab that scores pictures, and shows where they are unlikely."""
    model = app.model
    gr.Markdown(_SCORE)
    files = gr.File(label='Pictures', elem_id='files', file_count='multiple', file_types=_KINDS, height=160)
    invert = gr.Checkbox(label=_INVERT)
    count = min(Choice().num, actions.most_images(model))
    button, own = app.buttons('Score my pictures', f'Score {count} samples')
    said = gr.Markdown(elem_id='verdict')
    picture = parts.picture('Each picture beside its map: bright where it is unlikely', 'maps')
    table = gr.Dataframe(
        headers=list(showing.COLUMNS),
        label='Scores',
        elem_id='scores',
        interactive=False,
        column_widths=['165px'] * len(showing.COLUMNS),
    )

    def shown(names: Sequence[str], images: np.ndarray, progress: Any) -> Any:
        scores, typicality = actions.score(model, images, progress)
        rows = showing.table(names, scores, typicality)
        return showing.verdict(names, typicality), showing.maps(images, scores), rows

    def of_files(paths: list[str] | None, invert: bool, progress: Any) -> Any:
        paths = paths or []
        if not 0 < len(paths) <= limits.MOST_FILES:
            raise UserError(f'there are {len(paths)} pictures: drop from 1 to {limits.MOST_FILES}')
        images = [uploads.read_picture(path, model.image_shape, invert) for path in paths]
        return shown([os.path.basename(path) for path in paths], np.stack(images), progress)

    def of_model(progress: Any) -> Any:
        images = actions.draw(model, Choice(num=count), progress)[0]
        return shown([f'sample {index}' for index in range(len(images))], images, progress)

    app.run(button.click, of_files, [files, invert], [said, picture, table])
    app.run(own.click, of_model, [], [said, picture, table])
