"""Writes statistics of real images to a file, for --stats_file (--mode=stats)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from drl_tf.config.sampling_options import STATISTICS
from drl_tf.data import dataset_table
from drl_tf.evaluation.evaluator import spread_extractor, summarise
from drl_tf.evaluation.metrics import score as scoring

if TYPE_CHECKING:
    from drl_tf.config.config import Config


def make_statistics(config: Config, split: str, keep_features: bool) -> dict[str, str] | None:
    """Computes mean and covariance of the features of real images, and writes them to a file.

    The extractor, the network that the option `extractor` chooses, computes the features.

    Args:
      config: the configuration. Its option `stats_file` names the file; '' means
        'statistics/<dataset>_<size>_<split>-<extractor>-<hash of the pixels>.npz'.
      split: 'train' or 'test'.
      keep_features: whether to store the features of at most 10,000 images too, which the kernel distance,
        precision and recall need.

    Returns:
      Lines to print, {label: text}: the path of the file, and what it describes. None on workers other than
      the chief (the first worker).

    Raises:
      UserError: the extractor or the dataset is missing, or the two do not fit together.
    """
    data = config.data
    options = config.evaluation
    extractor, led = spread_extractor(config)

    def make() -> dict[str, str]:
        name = dataset_table.file_name(data.dataset)
        stem = os.path.join(STATISTICS, f'{name}_{data.image_size}_{split}-{extractor.name}')
        part = f'{options.stats_file or stem}.part'
        keep = scoring.KEPT_FEATURES if keep_features else 0
        found = summarise(config, extractor, split, keep, part)
        path = options.stats_file or f'{stem}-{found.fingerprint[:6]}.npz'
        found.save(path)
        os.remove(part)
        kept = f', {len(found.features):,} features kept' if keep_features else ''
        return {
            'statistics': path,
            'of': f'{found.images}, by {extractor.name} ({extractor.weights_hash}){kept}',
        }

    return led(make)
