"""The page: what its button "Stop" ends, and bounds of its fields that the model gives."""

import types

import gradio
import pytest
from helpers.small_models import CLASSES

import drl_tf
from drl_tf.app import pages, parts, server
from drl_tf.base.errors import UserError
from drl_tf.runs import exported


def test_all_work_of_a_page_has_an_event_of_its_own():
    """Playing, which begins and ends while a drawing runs, leaves the event of the drawing where it was."""
    app = parts.App(None)
    page, other = (types.SimpleNamespace(session_hash=name) for name in 'ab')
    with app.stoppable(page) as drawing, app.stoppable(other) as elsewhere:
        with app.stoppable(page):
            pass
        assert app.stop(page) and drawing.is_set() and not elsewhere.is_set()
    assert not app.stop(page)


def test_fields_fit_a_model_of_small_batches_and_strong_guidance():
    """Gradio refuses a slider whose value is out of its range, and `draw` more images than a batch has."""
    model = drl_tf.EnergyModel(CLASSES.replace(num_levels=2, sample_batch_size=2, guidance=7.5))
    blocks = pages.build(model, 'small').blocks.values()
    sliders = [block for block in blocks if getattr(block, 'label', '') == 'Guidance w']
    assert sliders and all(slider.maximum == slider.value == 7.5 for slider in sliders)
    buttons = [block.value for block in blocks if isinstance(block, gradio.Button)]
    assert 'Score 2 samples' in buttons


def test_the_model_of_the_app_knows_where_the_training_images_are(monkeypatch):
    def running(model, name, port):
        raise UserError(f'{name} reads {model.config.data.data_dir}')

    monkeypatch.setattr(server, 'running', running)
    with pytest.raises(UserError, match='digits reads my_pictures'):
        server.serve(exported.find('digits'), 7999, {'data_dir': 'my_pictures'})
