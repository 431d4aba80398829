"""The examples: valid Python, one install cell, notebooks that are built from them, names that there are."""

import ast
import importlib
import importlib.util
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest
from helpers.tiny import ROOT
from PIL import Image

from drl_tf.cli import parsing

spec = importlib.util.spec_from_file_location('examples_notebooks', ROOT / 'examples' / 'notebooks.py')
notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(notebooks)
SOURCES = notebooks.sources()
each = pytest.mark.parametrize('source', SOURCES, ids=lambda source: source.stem)


def install_cell(source):
    """The first cell of code of an example."""
    return next(cell.source for cell in notebooks.built(source).cells if cell.cell_type == 'code')


def tree(source):
    return ast.parse(source.read_text(encoding='utf-8'))


def test_there_are_examples_and_each_has_its_notebook():
    assert len(SOURCES) >= 5
    built = {path.stem for path in (ROOT / 'examples').glob('*.ipynb')}
    assert built == {source.stem for source in SOURCES}


@each
def test_the_notebook_is_the_one_that_is_built_from_the_python_file(source):
    stored = source.with_suffix('.ipynb').read_text(encoding='utf-8')
    assert stored == notebooks.text(source), 'run `make notebooks`'


@each
def test_notebooks_begin_with_a_title_and_store_no_outputs(source):
    cells = notebooks.built(source).cells
    assert cells[0].cell_type == 'markdown' and cells[0].source.startswith('# ')
    assert not any(cell.get('outputs') for cell in cells)


def test_all_examples_have_the_same_install_cell():
    """The one that serves a model also looks for the packages of the server."""
    cells = {source.stem: install_cell(source) for source in SOURCES}
    serving = {name for name, cell in cells.items() if "'tensorflow_serving'" in cell}
    assert serving == {source.stem for source in SOURCES if 'model_server' in source.read_text()} != set()
    assert len({cell.replace(", 'tensorflow_serving'", '') for cell in cells.values()}) == 1


def installed(monkeypatch, found, source=''):
    """Runs the install cell where the modules `found` are there; returns what it gives to pip."""
    commands = []
    monkeypatch.setattr(subprocess, 'run', lambda command, **options: commands.append(command[4:]))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: name in found or None)
    monkeypatch.setattr(sys, 'path', [*sys.path])
    exec(install_cell(SOURCES[0]).replace("SOURCE = ''", f'SOURCE = {source!r}'), {})
    return commands


def test_the_install_cell_does_nothing_where_the_package_is_there(monkeypatch):
    assert installed(monkeypatch, ['drl_tf', 'tensorflow', 'tensorflow_serving']) == []


@pytest.mark.parametrize('found', [[], ['drl_tf'], ['drl_tf', 'tensorflow']])
def test_the_install_cell_installs_the_checkout_in_which_the_notebook_lies(monkeypatch, found):
    monkeypatch.chdir(ROOT / 'examples')
    assert installed(monkeypatch, found) == [['--quiet', '--editable', f'{ROOT}[serving]']]
    assert sys.path[0] == str(ROOT)


def test_the_install_cell_installs_what_the_user_names(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    address = 'git+https://host/drl_tf'
    assert installed(monkeypatch, [], address) == [['--quiet', f'drl_tf[serving] @ {address}']]
    wheel = tmp_path / 'drl_tf-1.0-py3-none-any.whl'
    wheel.touch()
    assert installed(monkeypatch, [], wheel.name) == [['--quiet', f'drl_tf[serving] @ {wheel.as_uri()}']]


def test_the_install_cell_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match='set SOURCE'):
        installed(monkeypatch, [])


@each
def test_what_examples_import_from_the_package_is_there(source):
    wanted = [node for node in ast.walk(tree(source)) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in wanted if node.module.split('.')[0] == 'drl_tf']
    assert ours or 'import drl_tf' in source.read_text(encoding='utf-8')
    for node in ours:
        module = importlib.import_module(node.module)
        for alias in node.names:
            if not hasattr(module, alias.name):
                importlib.import_module(f'{node.module}.{alias.name}')


@each
def test_options_in_examples_are_ones_that_there_are(source):
    calls = [node for node in ast.walk(tree(source)) if isinstance(node, ast.Call)]
    words = [
        argument.value
        for call in calls
        if ast.unparse(call.func) == 'run'
        for argument in call.args
        if isinstance(argument, ast.Constant)
    ]
    fields = {name for group in parsing.option_groups() for name in group.__dataclass_fields__}
    assert {word.removeprefix('--').split('=')[0] for word in words} <= fields


def cell_with(stem, words):
    """The one cell of code of an example that contains some words."""
    (source,) = (source for source in SOURCES if source.stem.endswith(stem))
    cells = [cell.source for cell in notebooks.built(source).cells if cell.cell_type == 'code']
    (found,) = (cell for cell in cells if words in cell)
    return found


@pytest.mark.parametrize('own', [[], ['a.png', 'more/b.JPG']])
def test_pictures_of_the_reader_are_left_alone(monkeypatch, tmp_path, own):
    """The cell that fills the folder draws stand-ins only where there is no picture."""
    monkeypatch.chdir(tmp_path)
    for name in own:
        path = tmp_path / 'my_pictures' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (5, 4)).save(path)
    shown = types.SimpleNamespace(imshow=lambda image, **_: None, axis=lambda _: None)
    digits = types.SimpleNamespace(generate=lambda count, **_: np.zeros([count, 16, 16, 1], np.uint8))
    given = {
        'drl_tf': types.SimpleNamespace(EnergyModel=types.SimpleNamespace(from_preset=lambda _: digits)),
        'plt': types.SimpleNamespace(
            subplots=lambda rows, columns, **_: (None, np.full([rows, columns], shown)), show=lambda: None
        ),
        'np': np,
        'pathlib': pathlib,
        'Image': Image,
    }
    exec(cell_with('your_own_pictures', 'FOLDER ='), given)
    folder = tmp_path / 'my_pictures'
    found = {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}
    assert found == (set(own) or {f'{number:03d}.png' for number in range(600)})
    assert {'drawn', 'digits', 'show'} <= set(given)


def test_a_server_that_does_not_start_says_why(monkeypatch, tmp_path):
    """The cell that starts the server ends with what the server has written as its error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'exports').mkdir()
    cell = cell_with('digits', 'drl_tf.tools.model_server').replace(
        'drl_tf.tools.model_server', 'no_such_module'
    )
    with pytest.raises(SystemExit, match='No module named no_such_module'):
        exec(
            cell,
            {
                name: importlib.import_module(name)
                for name in ('atexit', 'pathlib', 'socket', 'subprocess', 'sys')
            },
        )
