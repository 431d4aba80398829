"""Bad files of a configuration: what they mean is taken, or they are refused in one line that names them."""

import dataclasses
import json
import pathlib
import shutil
import tempfile

import pytest
from helpers.hostile import called, damaged, is_typed, refusal, tries
from hypothesis import given
from hypothesis import strategies as st

from drl_tf.config import config as configuration

pytestmark = pytest.mark.usefixtures('work')


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from([10**400, '\ud800', '\0', 1e39]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def configurations(draw, sound):
    """The text of a `config.json` with something else in it than `sound`."""
    tree = json.loads(sound)
    group = draw(st.sampled_from(sorted(tree)))
    name = draw(st.sampled_from(sorted(tree[group])))
    kind = draw(st.sampled_from(['value', 'value', 'near', 'lost', 'new', 'group', 'any', 'deep', 'bytes']))
    if kind == 'bytes':
        return draw(damaged(sound))
    if kind == 'any':
        tree = draw(JSON)
    elif kind == 'deep':
        return b'[' * draw(st.integers(1, 200_000))
    elif kind == 'value':
        tree[group][name] = draw(st.one_of(JSON, st.lists(JSON, max_size=3)))
    elif kind == 'near':
        old = tree[group][name]
        tree[group][name] = draw(
            st.sampled_from(
                [[old], str(old), float(old) if type(old) is int else old, not old, None, [1.5, 2], [True]]
            )
        )
    elif kind == 'lost':
        del tree[group][name]
    elif kind == 'new':
        draw(st.sampled_from([tree, tree[group]]))[draw(st.text(max_size=5))] = draw(JSON)
    else:
        tree[group] = draw(JSON)
    return json.dumps(tree).encode()


@tries(250)
@given(data=st.data(), copy=st.booleans())
def test_stored_configurations(run_dir, work, data, copy):
    """Beside a checkpoint the run's own configuration comes out, or a refusal that names the file; without,
    what the file says."""
    del work[:]
    sound = (run_dir / 'config.json').read_bytes()
    content = data.draw(configurations(sound))
    with tempfile.TemporaryDirectory() as parent:
        workdir = pathlib.Path(parent) / 'run'
        shutil.copytree(run_dir, workdir)
        if not copy:
            shutil.rmtree(workdir / 'checkpoints')
        (workdir / 'config.json').write_bytes(content)
        line = refusal(*called('--mode=sample', f'--workdir={workdir}'))
        if line:
            assert f'{workdir}/config.json' in line or ('--' in line and not copy), line
            return
    ((_, config, *_),) = work
    if copy:
        assert not config.differences(
            configuration.load(run_dir), lambda field: field.metadata['changes'] in ('never', 'sampling')
        )
        return
    assert all(is_typed(field, value) for field, value in config.options())
    for group, stored in json.loads(content).items():
        found = json.loads(json.dumps(dataclasses.asdict(getattr(config, group))))
        wanted = {name: value for name, value in stored.items() if not (group == 'data' and value in (0, -1))}
        assert {name: found[name] for name in wanted} == wanted


def test_a_changed_configuration_is_found_by_the_copy(run_dir, tmp_path):
    shutil.copytree(run_dir, tmp_path / 'run')
    path = tmp_path / 'run' / 'config.json'
    path.write_text(path.read_text().replace('"b2": 0.0002', '"b2": 0.0003'))
    assert '--b2=0.0003 here, 0.0002 there' in refusal(*called('--mode=sample', f'--workdir={tmp_path}/run'))


@pytest.mark.parametrize(
    'wrong', ['[1, 2.5]', '[1, true]', '[1, "2"]', '[1, null]', '[1, [2]]', '"12"', '{"1": 2}', '[1, 1e999]']
)
def test_elements_of_stored_lists_have_their_type(run_dir, tmp_path, wrong):
    tree = json.loads((run_dir / 'config.json').read_text())
    tree['network']['channel_mult'] = 'here'
    (tmp_path / 'config.json').write_text(json.dumps(tree).replace('"here"', wrong))
    assert f'{tmp_path}/config.json is damaged' in refusal(*called('--mode=sample', f'--workdir={tmp_path}'))
