"""Finds out which archives a builder of tensorflow-datasets downloads."""

import collections
import contextlib
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from drl_tf.data.downloads import Archive


class _Asking:
    """Replaces a download manager: notes the URLs that a builder asks for, and downloads nothing.

    It answers with paths of files that do not exist, so a builder that reads one stops there.
    """

    def __init__(self, nowhere: pathlib.Path) -> None:
        self.urls: list[str] = []
        self.manual_dir = self.download_dir = self._nowhere = nowhere

    def download(self, urls: Any) -> Any:
        return tf.nest.map_structure(self._noted, urls)

    download_and_extract = download

    def _noted(self, asked: Any) -> pathlib.Path:
        """Notes a URL, or that of a `tfds.download.Resource`."""
        self.urls.append(str(getattr(asked, 'url', asked)))
        return self._nowhere / str(len(self.urls))

    def extract(self, paths: Any) -> Any:
        return paths

    def iter_archive(self, path: Any) -> Iterator[Any]:
        return iter(())

    iter_files = iter_archive


def wanted(builder: tfds.core.DatasetBuilder) -> list[Archive]:
    """Returns the archives that a tensorflow-datasets builder downloads.

    Archives without a known name and checksum are left out, and so are several of one name, which do not fit
    into one directory. A builder that reads a downloaded file to know the next ones is asked up to that file.
    tensorflow-datasets itself fetches all that is left out. Asking may change the builder: prepare the
    dataset with another one.
    """
    known = builder.url_infos or {}
    with tempfile.TemporaryDirectory() as empty:
        asking = _Asking(pathlib.Path(empty, 'nowhere'))
        if known:
            with contextlib.suppress(Exception):  # Builders raise errors of many kinds where they read.
                builder._split_generators(asking)
    infos = {url: known[url] for url in asking.urls if url in known and known[url].filename}
    names = collections.Counter(info.filename for info in infos.values())
    return [
        Archive(info.filename, url, int(info.size), info.checksum)
        for url, info in infos.items()
        if names[info.filename] == 1
    ]
