"""Statistics of real images in a file, for `evaluate` with --stats_file."""

import os

from drl_tf.base.errors import UserError
from drl_tf.base.files import check_writable
from drl_tf.evaluation.evaluator import spread_extractor, summarise
from drl_tf.evaluation.metrics import score as scoring


def make_statistics(config, split, keep_features):
    """Sums up the features of real images, for `evaluate` with --stats_file.

    Args:
      config: a `Config`; its `stats_file` is where they go,
        'statistics/<dataset>_<size>_<split>-<extractor>-<pixels>.npz' where empty.
      split: 'train' or 'test'.
      keep_features: whether the features of the first 10,000 images are kept, for the scores that need them.

    Returns:
      Where things are, as {label: text}, to the chief; None to other workers.

    Raises:
      UserError: as `Evaluator`.
    """
    data, options = config.data, config.evaluation
    extractor, led = spread_extractor(config)

    def make():
        if os.path.isdir(options.stats_file):
            raise UserError(f'--stats_file={options.stats_file} is a directory: give a file')
        stem = os.path.join('statistics', f'{data.dataset}_{data.image_size}_{split}-{extractor.name}')
        part = f'{options.stats_file or stem}.part'
        check_writable(os.path.dirname(part))
        found = summarise(config, extractor, split, scoring.KEPT_FEATURES if keep_features else 0, part)
        path = options.stats_file or f'{stem}-{found.fingerprint[:6]}.npz'
        found.save(path)
        os.remove(part)
        kept = f', {len(found.features):,} features kept' if keep_features else ''
        return {
            'statistics': path,
            'of': f'{found.images}, by {extractor.name} ({extractor.weights_hash}){kept}',
        }

    return led(make)
