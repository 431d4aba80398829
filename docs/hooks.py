"""What `mkdocs.yml` calls: pages of files outside `docs/` and of the options, and the folders' picture."""

import dataclasses
import html
import pathlib
import posixpath
import re

import folders
import markdown
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
_DASH = re.compile(r'(field-body">)\s*–\s*')  # Before a result, which has no name.
_WORD = re.compile(r'<code>([^<\s]{1,40})</code>')
# Text between tags; what stands in code, in a heading or in a picture is none.
_TEXT = re.compile(r'<(code|pre|svg|h\d)\b.*?</\1>|<[^>]*>|(?P<text>[^<]+)', re.DOTALL)
_SIGNS = {'beta~': 'β̃', 'beta': 'β', 'delta': 'δ', 'eps': 'ε', 'grad': '∇', 'sqrt': '√'}
_SIGN = re.compile(r'\b(?:beta~|(?:beta|delta|eps|grad|sqrt)\b)')
_LINK = re.compile(r'(?P<text>!?\[[^\]]*\])\((?P<target>[^)#\s]+)(?P<anchor>#[^)]*)?\)')


class _PlainUnderscores(markdown.Extension):
    """_ emphasises nothing: it stands in names and formulas."""

    def extendMarkdown(self, md):
        md.inlinePatterns.deregister('em_strong2', strict=False)


def on_config(config):
    config.markdown_extensions.append(_PlainUnderscores())
    return config


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
    return re.sub('[|_*]', lambda match: f'&#{ord(match[0])};', html.escape(text))


def on_page_markdown(markdown, page, config, files):
    """Turns links between files of the repository into links between pages, and draws the folders."""
    del config, files
    uri = page.file.src_uri
    source = PAGES.get(uri, f'docs/{uri}')
    linked = _LINK.sub(lambda match: _link(match, source, uri), markdown)
    return linked.replace(PICTURE, f'<div class="picture">{folders.svg()}</div>')


def on_page_content(content, page, config, files):
    """Typesets formulas, and marks code that is one word, which the style keeps on one line."""
    del page, config, files
    content = _TEXT.sub(lambda match: _formula(match['text']) if match['text'] else match[0], content)
    return _WORD.sub(r'<code class="word">\1</code>', _DASH.sub(r'\1', content))


def _formula(text):
    """x_{t+1}, s^2 and delta with indices, powers and Greek letters, in text that is no code."""
    text = re.sub(r'(\b(?:[A-Za-z]|delta|beta~?|sum)|\))_(?:\{([^}]*)\}|(\w)\b)', _lowered, text)
    text = re.sub(r'\^(?:\{([^}]*)\}|(-?\w+))', _raised, text)
    text = text.replace('sum<sub>', '∑<sub>')
    return _SIGN.sub(lambda match: _SIGNS[match[0]], text)


def _lowered(match):
    return f'{match[1]}<sub>{match[2] or match[3]}</sub>'


def _raised(match):
    return f'<sup>{match[1] or match[2]}</sup>'


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
