"""The model card of an exported model: what it is, of what and how it was made, how good it is, what it is
not for."""

import dataclasses
import os

from drl_tf.base.files import written_aside
from drl_tf.config.config import Sampling
from drl_tf.config.option_fields import text
from drl_tf.data import dataset_table
from drl_tf.runs import exported

_NOT_OF_THE_RECIPE = ('data_dir', 'manual_dir')
_TITLES = {
    'floor': 'floor: the distance of held-out real images',
    'class_agreement': 'samples taken for the class that was asked for',
}


def write_flags(path, config):
    """Writes every option that training reads as a flagfile, so that it gives the same run whatever the
    presets say.

    Args:
      path: the file.
      config: a `Config`.
    """
    lines = [f'# All options of the run. Command: python run.py --flagfile={os.path.basename(path)}']
    scoring = {field.name for field in dataclasses.fields(config.evaluation)}
    for field, value in config.options():
        if field.name in scoring or field.name in _NOT_OF_THE_RECIPE:
            continue
        if isinstance(value, bool):
            lines.append(f'--{"" if value else "no"}{field.name}')
        else:
            lines.append(f'--{field.name}={text(value)}')
    with written_aside(path) as file:
        file.write('\n'.join(lines) + '\n')


def write(path, final, model, config, step, max_samples, weights, known):
    """Writes a card as Markdown.

    Args:
      path: the file.
      final: the version folder that it will be in.
      model: a `RecoveryLikelihood`.
      config: its `Config`.
      step: how many steps it was trained.
      max_samples: the largest number of images of one request.
      weights: 'ema' or 'raw'.
      known: what `provenance.history` gave.
    """
    sections = [
        f'# {exported.name_of(final)}, version {os.path.basename(final)}',
        _summary(config),
        *_section('Data', _data(config, known)),
        *_section('Training', _training(model, config, step, weights, known, final)),
        *_section(
            'Scores',
            _density(known['density']) or [*_scores(known['evaluations']), *_likelihood(known['likelihood'])],
        ),
        *_section('Limits', _limits(config, max_samples, known['fitted_steps'])),
        *_section('Use', _use(final)),
    ]
    with written_aside(path) as file:
        file.write('\n\n'.join(sections) + '\n')


def _section(title, lines):
    return f'## {title}', '\n'.join(lines)


def _summary(config):
    size, channels = config.data.image_size, config.data.image_channels
    kind = (
        'cooperative diffusion recovery likelihood'
        if config.diffusion.initializer
        else 'diffusion recovery likelihood'
    )
    classes = f', conditional on {config.data.num_classes} classes' if config.data.num_classes else ''
    what = (
        'points of the plane' if config.planar else f'{size} x {size} pixels, {channels} channel(s){classes}'
    )
    return f'An energy-based model of `{config.data.dataset}`, {what}, by {kind}.'


def _data(config, known):
    spec = dataset_table.find_spec(config.data.dataset)
    terms = '' if config.planar else ' The weights were made from them: their terms may bind you too.'
    imported = (
        "- The authors' checkpoint does not say what it was trained on; that is what was given, or "
        'supposed, when it was imported.'
    )
    fitted = '- What `Model.fit` was given besides is not known here.'
    return [
        f'- What: {spec.note or config.data.dataset}; the training split '
        f'(`--dataset={config.data.dataset}`, docs/datasets.md).',
        f'- Licence of the data: {spec.licence or "unknown"}.{terms}',
        f'- Licence of the weights: {_licence(known["origin"])}',
        *([imported] if known['origin'] else []),
        *([fitted] if known['fitted_steps'] else []),
    ]


def _licence(origin):
    """The licence of the weights: ours, unless somebody else made what they began with."""
    if origin:
        return 'that of the imported checkpoint, which does not say it.'
    return 'Apache-2.0, as the program, unless whoever trained them says otherwise here.'


def _training(model, config, step, weights, known, final):
    parameters = ' and '.join(f'{raw.count_params():,} ({raw.name})' for _, raw in model.averages)
    return [
        *_begun(known['origin']),
        f'- Recipe: {config.diffusion.recipe}; T = {config.diffusion.num_levels} levels, K = '
        f'{text(config.diffusion.mcmc_steps)}.',
        f'- Parameters: {parameters}.',
        *_steps(config, step, weights, known, os.path.join(final, 'train.flags')),
    ]


def _steps(config, step, weights, known, flags):
    """What is known of the steps: all of a run, of one that began with an import those after it; of
    `Model.fit` how many."""
    options = config.training
    fitted = known['fitted_steps']
    used = f'averaged, decay {options.ema_decay}' if weights == 'ema' else 'raw'
    if fitted:
        last = f'- Weights: {used}, of step {step:,}, the last {fitted:,} of which `Model.fit` took '
        last += 'in Python, on images that it was given.'
        return [last, f'- Options: `{flags}` holds those of the run before; it does not give this model.']
    if known['origin'] and not step:
        return ['- Weights: those that were imported; nothing was trained since.']
    time, since = (
        f'{known["seconds"] / 60:,.1f} minutes' if known['seconds'] else 'not known',
        ' since the import' if known['origin'] else '',
    )
    command = f'- Command: `python run.py --flagfile={flags}`, which holds every option.'
    goes_on = f'- Options: `{flags}` holds those of the steps since the import; it does not give this model.'
    return [
        f'- Weights: {used}, of step {step:,} of {options.train_steps:,}; batches of {options.batch_size}; '
        f'seed {options.seed}.',
        goes_on if known['origin'] else command,
        f'- Time in training{since}: {time}, on {known["device"] or "a device that is not known"}.',
    ]


def _begun(origin):
    """What stands before the steps of a run that began with an imported network."""
    if not origin:
        return []
    iteration = origin.get('iteration')
    trained = (
        f'{iteration:,} iterations'
        if isinstance(iteration, int)
        else 'a number of iterations that is not known'
    )
    which = f'`{origin.get("official_weights")}` of `{origin.get("official_checkpoint")}`'
    return [f"- Begun with {which}, which the authors' code trained for {trained}; steps count from there."]


def _scores(evaluations):
    """A table for each result."""
    if not evaluations:
        return ['None: this step was not evaluated before it was exported.']
    settings, lines = {field.name for field in dataclasses.fields(Sampling)}, []
    for result in evaluations:
        of = f'features of {result.get("extractor")} ({result.get("extractor_hash")})'
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
        lines += ['', *([f'Warning: {result["warning"]}.', ''] if result.get('warning') else [])]
    return lines[:-1]


def _likelihood(result):
    """What annealed importance sampling said."""
    if not result:
        return []
    low, high = (
        f'{result[name]:.4g} (log Z_0 = {result[f"log_z_{name[8:]}"]:.2f})'
        for name in ('density_low', 'density_high')
    )
    chains = f'{result["num_chains"]} chains of {result["transitions"]} transitions from each side'
    of = f'{result["num_images"]:,} held-out images, {chains}'
    return ['', f'Bits/dim of x_0: {low} to {high}; {of}.', *(f'Note: {note}.' for note in result['notes'])]


def _density(result):
    """What integration and annealing said of points."""
    if not result:
        return []
    found = result['levels']['0']
    return [
        '- Mean log-likelihood of fresh points under level 0: '
        f'{found["mean_log_density_of_fresh_points"]:.3f} nats.',
        f'- log Z_0: {found["log_z_quadrature"]:.4f} by quadrature, {found["log_z_annealed"]:.4f} ± '
        f'{found["standard_error"]:.2g} by '
        f'annealed importance sampling ({result["num_chains"]:,} chains).',
    ]


def _limits(config, max_samples, fitted_steps):
    alone = '' if config.planar else f' at {config.data.image_size} pixels'
    fitted = ', and what it was fitted to,' if fitted_steps else ''
    what, rounding = ('points', 'rounding') if config.planar else ('images', 'a grey level of rounding')
    return [
        f'- It knows `{config.data.dataset}`{alone}{fitted} alone. It gives an energy for whatever has that '
        f'shape: for other {what} it is '
        'an extrapolation.',
        f'- Samples are those of {_chains(config.diffusion)}, not of the exact density.',
        '- Energies are -F in nats up to a constant of each level: compare them at one level alone.',
        f'- One request holds at most {max_samples:,} images. Image i depends on (seed, i), up to '
        f'{rounding}.',
    ]


def _chains(diffusion):
    if any(diffusion.mcmc_steps):
        return f'chains of K = {text(diffusion.mcmc_steps)} Langevin steps, which do not mix'
    return 'normal approximations, level by level'


def _use(final):
    name = exported.name_of(final)
    return [
        f'    python run.py --mode=sample --model={final}',
        '',
        'As a SavedModel: signatures and serving are in docs/serving.md; TensorFlow Serving takes '
        f'`{name}/` as it is.',
    ]
