"""The scores in a model card, as lines of Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from drl_tf.config import chains
from drl_tf.config.option_fields import text

if TYPE_CHECKING:
    from drl_tf.config.config import Config

_TITLES = {
    'floor': 'floor: the distance of held-out real images',
    'class_agreement': 'samples that a classifier assigns to the requested class',
}


def lines(known: Mapping[str, Any], config: Config) -> list[str]:
    """Formats the results of a model as lines of Markdown: its scores, its bits per dimension, its AUROCs.

    A model of points of the plane has other results: its mean log-likelihood and its log Z.

    Args:
      known: how the model was trained and scored, the dict that `provenance.history` returns. Its entries
        'evaluations', 'likelihood', 'direct' and 'density' are used.
      config: the configuration with which the exported model samples. A table of scores names the options in
        which its samples were drawn otherwise.
    """
    return _density(known['density']) or [
        *_scores(known['evaluations'], config),
        *_likelihood(known['likelihood']),
        *_direct(known['direct']),
    ]


def _scores(evaluations: Sequence[Mapping[str, Any]], config: Config) -> list[str]:
    """Returns the lines of one table per evaluation."""
    if not evaluations:
        return ['None: no result of `--mode=evaluate` was at hand.']
    settings = {*chains.FREE_LEVELS, *dataclasses.asdict(config.sampling)}
    lines = []
    for result in evaluations:
        of = f'features of {result.get("extractor")} ({result.get("extractor_hash")}){_drawn(result, config)}'
        lines += [
            f'{result.get("num_samples"):,} samples against {result.get("real")}, {of}:',
            '',
            '| score | |',
            '|---|---|',
        ]
        numbers = {
            name: value for name, value in result.items() if isinstance(value, float) and name not in settings
        }
        lines += [f'| {_TITLES.get(name, name)} | {value:.4g} |' for name, value in numbers.items()]
        lines.append('')
        if result.get('warning'):
            lines += [f'Warning: {result["warning"]}.', '']
    return lines[:-1]


def _drawn(result: Mapping[str, Any], config: Config) -> str:
    """Returns the options with which samples were drawn, if the model draws others; '' if it draws these."""
    mine = {
        **chains.levels_of(config),
        'mcmc_steps': config.diffusion.mcmc_steps,
        **dataclasses.asdict(config.sampling),
        'corrector': config.corrector,
    }
    del mine['sample_batch_size']
    theirs = {name: tuple(value) if isinstance(value, list) else value for name, value in result.items()}
    other = [f'--{name}={text(theirs[name])}' for name in mine if theirs.get(name, mine[name]) != mine[name]]
    return f'; drawn with {" ".join(other)}, unlike those of this model' if other else ''


def _likelihood(result: Mapping[str, Any] | None) -> list[str]:
    """Returns the lines on bits/dim by annealed importance sampling."""
    if not result:
        return []
    low, high = (
        f'{result[name]:.4g} (log Z_0 = {result[f"log_z_{name[8:]}"]:.2f})'
        for name in ('density_low', 'density_high')
    )
    chains = f'{result["num_chains"]} chains of {result["transitions"]} transitions from each side'
    of = f'{result["num_images"]:,} held-out images, {chains}'
    return ['', f'Bits/dim of x_0: {low} to {high}; {of}.', *(f'Note: {note}.' for note in result['notes'])]


def _direct(result: Mapping[str, Any] | None) -> list[str]:
    """Returns the lines on bits/dim by normalised energies, without annealing."""
    if not result:
        return []
    of = ' and '.join(
        f'{result[split]["density_bennett"]:.4g} of {result[split]["num_images"]:,} {split} images'
        for split in ('test', 'train')
    )
    return [
        '',
        f'Bits/dim of x_0, by normalised energies (one forward pass an image): {of}.',
        *(f'Note: {note}.' for note in result.get('notes', ())),
        *_ranking(result.get('ranking', {})),
    ]


def _ranking(ranking: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Returns the lines of the table of results of `experiments.ranking`."""
    if not ranking:
        return []
    return [
        '',
        'AUROC of held-out images against others, by `log_prob` (denser is better) and by `typicality`:',
        '',
        '| other images | log_prob | typicality |',
        '|---|---|---|',
        *(
            f'| {name} | {scores["log_prob"]:.3f} | {scores["typicality"]:.3f} |'
            for name, scores in ranking.items()
        ),
    ]


def _density(result: Mapping[str, Any] | None) -> list[str]:
    """Returns the lines on quadrature and annealing for points of the plane."""
    if not result:
        return []
    found = result['levels']['0']
    return [
        '- Mean log-likelihood of fresh points under level 0: '
        f'{found["mean_log_density_of_fresh_points"]:.3f} nats.',
        f'- log Z_0: {found["log_z_quadrature"]:.4f} by quadrature, '
        f'{found["log_z_annealed"]:.4f} ± {found["standard_error"]:.2g} by annealed importance sampling '
        f'({result["num_chains"]:,} chains).',
    ]
