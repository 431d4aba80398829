"""What `mkdocs.yml` calls: pages of files outside `docs/` and of the options, and the folders' picture."""

import dataclasses
import pathlib
import posixpath
import re

import folders
from mkdocs.structure.files import File

from drl_tf.cli import parsing
from drl_tf.config.option_fields import kind

ROOT = pathlib.Path(__file__).parent.parent
# {page of the site: the file of the repository that it shows}
PAGES = {
    'index.md': 'README.md',
    'contributing.md': 'CONTRIBUTING.md',
    'changelog.md': 'CHANGELOG.md',
    'models/digits.md': 'saved_models/digits/1/README.md',
    'models/toy_checkerboard.md': 'saved_models/toy_checkerboard/1/README.md',
}
PICTURE = '<!-- folders -->'
_PAGE_OF = {source: page for page, source in PAGES.items()}
_LINK = re.compile(r'(?P<text>!?\[[^\]]*\])\((?P<target>[^)#\s]+)(?P<anchor>#[^)]*)?\)')


def on_files(files, config):
    """Adds the pages that show a file outside `docs/`."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding='utf-8')))
    files.append(File.generated(config, 'reference/options.md', content=_options()))
    return files


def _options():
    """A page of all options, as `--help` lists them."""
    lines = ['# Options', '', 'Every option of the command line, as `python run.py --help` prints them.']
    for group in parsing.option_groups():
        lines += ['', f'## {group.__doc__}', '', '| option | takes | what it does |', '|---|---|---|']
        for field in dataclasses.fields(group):
            takes = kind(field).replace('|', 'or')
            lines.append(f'| `--{field.name}` | {takes} | {_cell(field.metadata["help"])} |')
    return '\n'.join(lines) + '\n'


def _cell(text):
    """Text for a cell of a table: nothing in it is Markdown."""
    return re.sub(r'([|<>_*])', r'\\\1', text)


def on_page_markdown(markdown, page, config, files):
    """Turns links between files of the repository into links between pages, and draws the folders."""
    del config, files
    uri = page.file.src_uri
    source = PAGES.get(uri, f'docs/{uri}')
    linked = _LINK.sub(lambda match: _link(match, source, uri), markdown)
    return linked.replace(PICTURE, f'<div class="picture">{folders.svg()}</div>')


def _link(match, source, uri):
    """A link as the page `uri` must have it, which shows the file `source`; its text, where no page has the
    target."""
    target, anchor = match['target'], match['anchor'] or ''
    if '://' in target:
        return match[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    page = _PAGE_OF.get(path, path.removeprefix('docs/') if path.startswith('docs/') else None)
    if page is None:
        return match['text'].strip('[]')
    return f'{match["text"]}({posixpath.relpath(page, posixpath.dirname(uri) or ".")}{anchor})'
