"""Finds archives of datasets in --manual_dir or downloads them, and checks their size and SHA-256."""

import dataclasses
import hashlib
import os
import pathlib
import queue
import shutil
import threading
from typing import Any

import requests
import tqdm

from drl_tf.base.errors import UserError

ANSWER_SECONDS = 3
STALL_SECONDS = 20
_FUTILE_ATTEMPTS = 3
FUTILE_BYTES = 2**20
CHUNK_BYTES = 2**14
_DRIVE = 'https://drive.google.com/uc?'
DRIVE_FILES = 'https://drive.usercontent.google.com/download?confirm=t&'


@dataclasses.dataclass(frozen=True)
class Archive:
    """A file to download, and how to recognise it.

    Attributes:
      name: file name under which the archive is looked for and stored.
      url: URL of the file.
      size: size in bytes.
      checksum: SHA-256 of the file, hexadecimal.
    """

    name: str
    url: str
    size: int
    checksum: str

    @property
    def unpacked_name(self) -> str:
        """Name of the directory that unpacking the archive creates."""
        return pathlib.PurePath(self.name).stem


class _NoAnswerError(Exception):
    """A server sent nothing usable; the message says what the server did."""


def gather(
    archives: list[Archive], manual_dir: str, downloads: str, unpacked: bool = False
) -> dict[str, str]:
    """Finds archives in --manual_dir or among earlier downloads, and downloads the others.

    An interrupted download resumes from `<name>.part`. A connection is given up after 20 seconds of silence,
    and another one continues. A download fails if the server does not answer within 3 seconds at the start,
    or if three connections in a row bring less than 1 MiB each.

    Args:
      archives: the archives that are needed.
      manual_dir: the user's directory with archives; '': none.
      downloads: the directory for downloads; created if it is missing and needed.
      unpacked: whether an unpacked archive in `manual_dir` may be used instead of the archive.

    Returns:
      {file name: path} of the archives, or of their unpacked directories.

    Raises:
      UserError: a download fails, an archive is damaged or not the expected file, or the disk is too full.
    """
    found = {archive: _find(archive, manual_dir, downloads, unpacked) for archive in archives}
    missing = [archive for archive, path in found.items() if not path]
    if missing:
        os.makedirs(downloads, exist_ok=True)
        needed = sum(archive.size - _size(_part(archive, downloads)) for archive in missing)
        check_room(downloads, needed, 'the downloads')
    for archive in missing:
        try:
            found[archive] = _download(archive, downloads)
        except _NoAnswerError as error:
            raise UserError(f'{archive.url} {error}: {_by_hand(missing, unpacked)}') from error
    return {os.path.basename(path): os.path.abspath(path) for path in found.values()}


def download(url: str, path: str) -> None:
    """Downloads the file at `url` to `path`, without a check of its size or checksum.

    Raises:
      UserError: the server does not answer within 3 seconds, sends no file, or breaks off.
    """
    try:
        with _answer(url, 0) as response:
            _check_answer(response)
            length = int(response.headers.get('Content-Length', 0)) or None
            _save(response, path, 'wb', desc=os.path.basename(path), total=length)
    except _NoAnswerError as error:
        raise UserError(f'{url} {error}') from error
    except requests.RequestException as error:
        raise UserError(f'{url} stopped after {_size(path):,} bytes') from error


def check_room(directory: str, size: int, what: str) -> None:
    """Raises UserError if the disk of `directory` lacks `size` bytes for `what`, such as 'the downloads'."""
    free = shutil.disk_usage(directory).free
    if size > free:
        raise UserError(
            f'{directory} has {free / 2**30:.1f} GiB free and {what} take {size / 2**30:.1f}: free some '
            'space, or give another --data_dir'
        )


def _by_hand(missing: list[Archive], unpacked: bool) -> str:
    files = ', '.join(f'{archive.name} ({archive.url})' for archive in missing)
    state = ', zipped or unpacked,' if unpacked else ''
    return f'fetch by other means {files} into a directory DIR{state} and give --manual_dir=DIR'


def _find(archive: Archive, manual_dir: str, downloads: str, unpacked: bool) -> str:
    """Returns the path of a sound archive, or of its unpacked directory; '' if there is neither."""
    place = os.path.join(manual_dir, archive.unpacked_name)
    if manual_dir and unpacked and os.path.isdir(place):
        return place
    for directory in filter(None, (manual_dir, downloads)):
        path = os.path.join(directory, archive.name)
        if not os.path.isfile(path):
            continue
        fetch = f'fetch it again from {archive.url}'
        if directory == downloads:
            _check(path, archive, f'remove it and {fetch}')
        elif unpacked:
            _check(path, archive, f'{fetch}, or, if it is sound, unpack it to {place}', ', or zipped anew')
        else:
            _check(path, archive, fetch)
        return path
    return ''


def _check(path: str, archive: Archive, advice: str, otherwise: str = '') -> None:
    """Raises UserError unless a file is the archive.

    Args:
      path: path of the file.
      archive: the archive that the file must be.
      advice: advice to the user, for the message.
      otherwise: another possible cause than damage, for the message.
    """
    size = os.path.getsize(path)
    if size != archive.size:
        kind = 'cut off' if size < archive.size else 'another file'
        raise UserError(
            f'{path} is {kind}{otherwise}: it has {size:,} bytes, {archive.size:,} are expected; {advice}'
        )
    print(f'checking {path}', flush=True)
    with open(path, 'rb') as file:
        checksum = hashlib.file_digest(file, 'sha256').hexdigest()
    if checksum != archive.checksum:
        raise UserError(
            f'{path} is damaged{otherwise}: its SHA-256 is {checksum}, {archive.checksum} is expected; '
            f'{advice}'
        )


def _part(archive: Archive, downloads: str) -> str:
    return os.path.join(downloads, f'{archive.name}.part')


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


def _download(archive: Archive, downloads: str) -> str:
    """Downloads an archive, starting at the end of its `.part` file, and returns the path."""
    path = os.path.join(downloads, archive.name)
    part = _part(archive, downloads)
    if _size(part) > archive.size:
        os.remove(part)
    futile = 0
    while _size(part) < archive.size:
        start = _size(part)
        try:
            _receive(archive, part)
        except _NoAnswerError as error:
            if not start:
                raise
            problem = str(error)
        except requests.RequestException:
            problem = f'stopped after {_size(part):,} of {archive.size:,} bytes'
        else:
            problem = f'ended after {_size(part):,} of {archive.size:,} bytes'
        futile = futile + 1 if _size(part) - start < FUTILE_BYTES else 0
        if futile >= _FUTILE_ATTEMPTS and _size(part) < archive.size:
            raise _NoAnswerError(f'{problem}, {futile} times in a row (run again to resume the download)')
    try:
        _check(part, archive, f'fetch it again from {archive.url}')
    except UserError:
        os.remove(part)
        raise
    os.replace(part, path)
    return path


def _receive(archive: Archive, part: str) -> None:
    """Appends the bytes of one connection to a part; starts anew if the server does not support ranges."""
    have = _size(part)
    with _answer(archive.url, have) as response:
        if response.status_code == requests.codes.range_not_satisfiable:
            os.remove(part)
            raise _NoAnswerError('does not have the rest of the file')
        is_resumed = response.status_code == requests.codes.partial_content
        start = have if is_resumed else 0
        offered = int(response.headers.get('Content-Length', archive.size - start)) + start
        _check_answer(response)
        if offered != archive.size:
            raise _NoAnswerError(f'offers {offered:,} bytes where {archive.size:,} are expected')
        mode = 'ab' if is_resumed else 'wb'
        _save(response, part, mode, desc=archive.name, total=archive.size, initial=start)


def _check_answer(response: requests.Response) -> None:
    """Raises _NoAnswerError for an answer without a file."""
    if response.status_code not in (requests.codes.ok, requests.codes.partial_content):
        raise _NoAnswerError(f'answered {response.status_code} {response.reason}')
    if 'text/html' in response.headers.get('Content-Type', ''):
        raise _NoAnswerError('answered with a web page instead of the file (a quota, or a confirmation)')


def _save(response: requests.Response, path: str, mode: str, **progress: Any) -> None:
    """Writes the content of an answer, with a progress bar."""
    with open(path, mode) as file, tqdm.tqdm(unit='B', unit_scale=True, **progress) as bar:
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))


def _answer(url: str, start: int) -> requests.Response:
    """Requests a file from byte `start` on, and returns the response once its header has come.

    A thread sends the request, because a name server can be silent for minutes.

    Raises:
      _NoAnswerError: the server cannot be reached, or does not answer within `ANSWER_SECONDS`.
    """
    answers: queue.SimpleQueue[requests.Response | requests.RequestException] = queue.SimpleQueue()
    headers = {'Accept-Encoding': 'identity'}
    if start:
        headers['Range'] = f'bytes={start}-'

    def ask() -> None:
        url_of_file = url.replace(_DRIVE, DRIVE_FILES)
        timeout = (ANSWER_SECONDS, STALL_SECONDS)
        try:
            answers.put(requests.get(url_of_file, headers=headers, stream=True, timeout=timeout))
        except requests.RequestException as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    answer: requests.Response | requests.RequestException
    try:
        answer = answers.get(timeout=ANSWER_SECONDS)
    except queue.Empty as error:
        answer = requests.Timeout(error)
    if isinstance(answer, requests.Timeout):
        raise _NoAnswerError(f'did not answer within {ANSWER_SECONDS} seconds') from answer
    if isinstance(answer, Exception):
        raise _NoAnswerError(f'cannot be reached ({type(answer).__name__})') from answer
    return answer
