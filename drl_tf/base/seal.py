"""Detects damaged files: a manifest in a directory stores the size and SHA-256 of each file."""

import hashlib
import os
from collections.abc import Iterable

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import read_json, sync, write_json

MANIFEST = 'manifest.json'


def seal(directory: str | os.PathLike[str]) -> None:
    """Writes `manifest.json`: the size and the SHA-256 of each file below a directory; syncs all to disk."""
    names = _files(directory)
    fingerprints = {name: _fingerprint(os.path.join(directory, name)) for name in names}
    write_json(os.path.join(directory, MANIFEST), fingerprints)
    for name in (*names, MANIFEST):
        sync(os.path.join(directory, name))
    for path, _, _ in os.walk(directory):
        sync(path)


def verify(
    directory: str | os.PathLike[str],
    needed: Iterable[str],
    what: str,
    remedy: str,
    more_allowed: bool = False,
) -> None:
    """Checks the files in a directory against the sizes and hashes in its `manifest.json`.

    Args:
      directory: a directory for which `seal` has written the manifest.
      needed: names of files that the manifest must list.
      what: what the directory is, such as 'exported model', for the message.
      remedy: advice to the user, for the message.
      more_allowed: whether there may be files that the manifest does not list.

    Raises:
      UserError: a file is missing, added or changed; the message names the file and the reason.
    """
    name = MANIFEST
    try:
        manifest = read_json(os.path.join(directory, name))
        expected_names = {*needed} if more_allowed else {*needed, *_files(directory)}
        unlisted = expected_names - {*manifest}
        if unlisted:
            raise ValueError(f'{", ".join(sorted(unlisted))} is not in it')
        for name, expected in manifest.items():
            found = _fingerprint(os.path.join(directory, name))
            for key, value in found.items():
                if expected[key] != value:
                    raise ValueError(f'{key} {value}, not {expected[key]}')
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'{what} {directory} is damaged ({name}: {one_line(error)}): {remedy}') from error


def _files(directory: str | os.PathLike[str]) -> list[str]:
    """Returns the relative paths of all files except the manifest, sorted."""
    paths = (
        os.path.relpath(os.path.join(path, name), directory)
        for path, _, names in os.walk(directory)
        for name in names
    )
    return sorted(path for path in paths if path != MANIFEST)


def _fingerprint(path: str) -> dict[str, int | str]:
    with open(path, 'rb') as file:
        return {'bytes': os.path.getsize(path), 'sha256': hashlib.file_digest(file, 'sha256').hexdigest()}
