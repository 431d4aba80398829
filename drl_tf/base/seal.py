"""Seals: the size and SHA-256 of every file of a directory, noted in it, by which damage is found."""

import hashlib
import os

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import read_json, sync, write_json

MANIFEST = 'manifest.json'


def seal(directory):
    """Notes all files of a directory, and of those within it, in its manifest, and has everything on the
    disk."""
    names = _files(directory)
    write_json(
        os.path.join(directory, MANIFEST),
        {name: _fingerprint(os.path.join(directory, name)) for name in names},
    )
    for name in (*names, MANIFEST):
        sync(os.path.join(directory, name))
    for path, _, _ in os.walk(directory):
        sync(path)


def verify(directory, needed, what, remedy, more_allowed=False):
    """Sees that a directory is as it was sealed.

    Args:
      directory: where `seal` was called.
      needed: names of files that must be in the manifest.
      what: what the directory is, for the message.
      remedy: what to do, for the message.
      more_allowed: whether there may be files that were not sealed.

    Raises:
      UserError: it is not; the message names file and reason.
    """
    name = MANIFEST
    try:
        manifest = read_json(os.path.join(directory, name))
        unlisted = {*needed, *([] if more_allowed else _files(directory))} - {*manifest}
        if unlisted:
            raise ValueError(f'{", ".join(sorted(unlisted))} is not in it')
        for name, expected in manifest.items():
            found = _fingerprint(os.path.join(directory, name))
            for key, value in found.items():
                if expected[key] != value:
                    raise ValueError(f'{key} {value}, not {expected[key]}')
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'{what} {directory} is damaged ({name}: {one_line(error)}): {remedy}') from error


def _files(directory):
    """Relative paths of all files but the manifest, sorted."""
    paths = (
        os.path.relpath(os.path.join(path, name), directory)
        for path, _, names in os.walk(directory)
        for name in names
    )
    return sorted(path for path in paths if path != MANIFEST)


def _fingerprint(path):
    with open(path, 'rb') as file:
        return {'bytes': os.path.getsize(path), 'sha256': hashlib.file_digest(file, 'sha256').hexdigest()}
