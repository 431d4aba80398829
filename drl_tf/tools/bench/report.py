"""Writes the results of benchmarks as JSON and as Markdown tables."""

import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

FILE_NAME = 'bench.jsonl'
_MOST_COLUMNS = 12


def append(directory: str, line: Mapping[str, Any]) -> None:
    """Appends a result to the file `bench.jsonl` in a directory, as a line of JSON.

    Args:
      directory: the directory.
      line: a result: a dict with 'part' (of the benchmarks), 'name' and the measured quantities.
    """
    with open(pathlib.Path(directory, FILE_NAME), 'a', encoding='utf-8') as file:
        file.write(f'{json.dumps(line)}\n')


def read(directory: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the results in the file `bench.jsonl` in a directory, one dict for each line."""
    text = pathlib.Path(directory, FILE_NAME).read_text(encoding='utf-8')
    return [json.loads(line) for line in text.splitlines()]


def _table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Returns a Markdown table with a row for each result and a column for each quantity.

    Args:
      lines: results of one part of the benchmarks, each with the entries 'part' and 'name'.

    Examples:
      >>> ratio = {'median': 0.5, 'low': 0.4, 'high': 0.6, 'count': 3}
      >>> print(_table([{'part': 'x', 'name': 'a', 'ratio': ratio}]))
      | x | ratio |
      |---|---|
      | `a` | 0.5 (0.4 to 0.6) |
    """
    columns = list(dict.fromkeys(key for line in lines for key in line if key not in ('part', 'name')))
    rows = [f'| {" | ".join([lines[0]["part"], *columns])} |', f'|{"---|" * (len(columns) + 1)}']
    for line in lines:
        cells = [f'`{line["name"]}`', *(_cell(column, line.get(column)) for column in columns)]
        rows.append(f'| {" | ".join(cells)} |')
    return '\n'.join(rows)


def tables(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields a Markdown table, a text of several lines, for each part of the benchmarks.

    Args:
      lines: results of all parts. Each has the entries 'part' (such as 'memory') and 'name'; its other
        entries are the quantities to show.
    """
    for part in dict.fromkeys(line['part'] for line in lines):
        mine = [line for line in lines if line['part'] == part]
        yield _turned(mine) if max(map(len, mine)) > _MOST_COLUMNS else _table(mine)


def _turned(lines: Sequence[Mapping[str, Any]]) -> str:
    """Returns the Markdown table of `_table` with rows and columns exchanged."""
    columns = [row.strip('| ').split(' | ') for row in _table(lines).splitlines()]
    del columns[1]
    rows = [f'| {" | ".join(cells)} |' for cells in zip(*columns, strict=True)]
    return '\n'.join([rows[0], f'|{"---|" * len(columns)}', *rows[1:]])


def _cell(name: str, value: Any) -> str:
    """Formats a value: operations in G/s, bytes in MiB, a spread with its quartiles."""
    if value is None:
        return '-'
    if isinstance(value, dict) and 'median' in value:
        return '{} ({} to {})'.format(*(f'{value[key]:.3g}' for key in ('median', 'low', 'high')))
    if isinstance(value, dict):
        return ', '.join(f'{count} {kind}' for kind, count in value.items())
    if name.endswith('flops_per_s'):
        return f'{value / 1e9:.3g} G'
    if name.endswith('bytes'):
        return f'{value / 2**20:,.0f} MiB'
    return f'{value:.3g}' if isinstance(value, float) else str(value)
