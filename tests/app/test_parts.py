"""Work of a page, which its button "Stop" ends."""

import types

from drl_tf.app import parts


def test_all_work_of_a_page_has_an_event_of_its_own():
    """Playing, which begins and ends while a drawing runs, leaves the event of the drawing where it was."""
    app = parts.App(None)
    page, other = (types.SimpleNamespace(session_hash=name) for name in 'ab')
    with app.stoppable(page) as drawing, app.stoppable(other) as elsewhere:
        with app.stoppable(page):
            pass
        assert app.stop(page) and drawing.is_set() and not elsewhere.is_set()
    assert not app.stop(page)
