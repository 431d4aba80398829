"""Checkpoints as the authors' code writes them, and what its network computes from them, in float64, written
out once more."""

import dataclasses

import numpy as np
import tensorflow as tf

ACTIVATIONS = {
    'lrelu': lambda x: np.where(x > 0, x, 0.2 * x),
    'relu': lambda x: np.maximum(x, 0),
    'swish': lambda x: x / (1 + np.exp(-x)),
    'none': lambda x: x,
}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What the authors' flags and image size decide; `final_act` 'none' is their 'lrelu', which changes
    nothing."""

    channels: int = 8
    mult: tuple = (1, 2, 2, 2)
    blocks: int = 1
    size: int = 32
    act: str = 'lrelu'
    final_act: str = 'relu'
    norm: str = ''
    attention: bool = False
    conv_downsample: bool = False
    conv_shortcut: bool = True
    gain: bool = True
    spectral_norm: bool = True


def variables(architecture, seed):
    """{name below the network: float32 array}, all of them random; no u has converged."""
    arch, drawn = architecture, _Drawn(architecture, seed)
    ch, size, before = arch.channels, arch.size, arch.channels
    drawn.affine('conv2d_in/conv', 3, 3, 3, ch)
    drawn.affine('temb_dense_0/dense', ch, 4 * ch)
    drawn.affine('temb_dense_1/dense', 4 * ch, 4 * ch)
    drawn.affine('temb_dense_2/dense', 4 * ch, ch * arch.mult[-1], spectral_norm=False)
    for level, mult in enumerate(arch.mult):
        units = ch * mult
        for index in range(arch.blocks):
            drawn.block(f'res_levels/{level}/{index}', before, units)
            before = units
            if arch.attention and size == 16:
                drawn.attention(f'attn_s/16/{index}', units)
        if level < len(arch.mult) - 1:
            size //= 2
            if arch.conv_downsample:
                drawn.affine(f'downsample_s/{level}/conv2d/conv', 3, 3, units, units)
    return drawn.made


class _Drawn:
    """The random variables of the layers that were asked for: `made`, {name: float32 array}."""

    def __init__(self, architecture, seed):
        self.arch, self.rng, self.made = architecture, np.random.default_rng(seed), {}

    def add(self, name, *shape, mean=0.0, scale=0.3):
        self.made[name] = (mean + scale * self.rng.normal(size=shape)).astype(np.float32)

    def affine(self, path, *shape, spectral_norm=None, gain=False):
        spectral_norm = self.arch.spectral_norm if spectral_norm is None else spectral_norm
        inner = f'{path}/layer' if spectral_norm else path
        self.add(f'{path}/w' if spectral_norm else f'{path}/W', *shape, scale=np.prod(shape[:-1]) ** -0.5)
        self.add(f'{inner}/b', shape[-1])
        if gain:
            self.add(f'{inner}/g', shape[-1], mean=1.0)
        if spectral_norm:
            self.add(f'{path}/sn_u', 1, shape[-1])
            self.made[f'{inner}/W'] = self.made[f'{path}/w'] / 2  # Left over from the last forward pass.

    def norm(self, path, units):
        if self.arch.norm:
            self.add(f'{path}/norm/gamma', units, mean=1.0)
            self.add(f'{path}/norm/beta', units)
        if self.arch.norm == 'batch':
            self.add(f'{path}/norm/moving_mean', units)
            self.add(f'{path}/norm/moving_variance', units, mean=1.0)

    def block(self, root, before, units):
        self.norm(f'{root}/normalize_1', before)
        self.norm(f'{root}/normalize_2', units)
        self.affine(f'{root}/conv2d_1/conv', 3, 3, before, units)
        self.affine(f'{root}/conv2d_2/conv', 3, 3, units, units, gain=self.arch.gain)
        self.affine(f'{root}/dense/dense', 4 * self.arch.channels, units)
        if before != units and self.arch.conv_shortcut:
            self.affine(f'{root}/conv2d_shortcut/conv', 3, 3, before, units)
        elif before != units:
            self.affine(f'{root}/nin_shortcut/nin', before, units)

    def attention(self, root, units):
        self.norm(f'{root}/normalize', units)
        for name in ('q', 'k', 'v', 'proj_out'):
            self.affine(f'{root}/nin_{name}/nin', units, units, spectral_norm=False)


def write(prefix, networks, iteration=12345, slots=False):
    """Writes a checkpoint.

    Args:
      prefix: its path without `.index`.
      networks: {'model' or 'model_ema': as of `variables`}.
      iteration: the counter `i_iter_var`.
      slots: whether an optimizer's moments of each variable are there too.

    Returns:
      The prefix, a text.
    """
    roots = {}
    for name, values in networks.items():
        roots[name] = tf.Module()
        roots[name].net = _tree(values)
    optimizer = tf.compat.v1.train.AdamOptimizer(0.0)
    if slots:
        optimizer.apply_gradients(
            [(tf.ones_like(variable), variable) for root in roots.values() for variable in root.variables]
        )
    return tf.train.Checkpoint(**roots, opt_c=optimizer, i_iter_var=tf.Variable(iteration)).write(str(prefix))


def _tree(values):
    """Modules whose attributes are the names, each a part of a path."""
    root = tf.Module()
    for path, value in values.items():
        node = root
        *parents, leaf = path.split('/')
        for name in parents:
            if not hasattr(node, name):
                setattr(node, name, tf.Module())
            node = getattr(node, name)
        setattr(node, leaf, tf.Variable(value))
        if leaf == 'sn_u':
            node.u = node.sn_u
    return root


def forward(architecture, weights, x, time):
    """f(x, t) after one power iteration from the stored u, float64 [B], of x [B, H, W, 3] and t [B]."""
    return Network(architecture, weights)(np.float64(x), np.float64(time))


class Network:
    """The forward pass, layer by layer, in the order of the authors' code."""

    def __init__(self, architecture, weights):
        self.arch, self.weights = (
            architecture,
            {name: value.astype(np.float64) for name, value in weights.items()},
        )
        self.act, self.final_act = ACTIVATIONS[architecture.act], ACTIVATIONS[architecture.final_act]

    def __call__(self, x, time):
        arch, half = self.arch, self.arch.channels // 2
        angle = time[:, None] * np.exp(-np.log(1e4) * np.arange(half) / (half - 1))
        temb = self.affine('temb_dense_0/dense', np.concatenate([np.sin(angle), np.cos(angle)], axis=1))
        temb = self.affine('temb_dense_1/dense', self.act(temb))
        h = self.affine('conv2d_in/conv', x)
        for level in range(len(arch.mult)):
            for index in range(arch.blocks):
                h = self.block(f'res_levels/{level}/{index}', h, temb)
                if arch.attention and h.shape[1] == 16:
                    h = self.attention(f'attn_s/16/{index}', h)
            if level < len(arch.mult) - 1:
                pooled = tf.nn.avg_pool2d(h, 2, 2, 'SAME').numpy()
                h = (
                    self.affine(f'downsample_s/{level}/conv2d/conv', h, stride=2)
                    if arch.conv_downsample
                    else pooled
                )
        h = self.final_act(h).sum(axis=(1, 2))
        return (h * self.affine('temb_dense_2/dense', self.act(temb))).sum(axis=1)

    def affine(self, path, x, stride=1, lower_bound=False):
        spectral_norm = f'{path}/w' in self.weights
        kernel = self.weights[f'{path}/w' if spectral_norm else f'{path}/W']
        if spectral_norm:
            matrix, u = kernel.reshape(-1, kernel.shape[-1]), self.weights[f'{path}/sn_u'][0]
            v = matrix @ u / np.linalg.norm(matrix @ u)
            u = v @ matrix / np.linalg.norm(v @ matrix)
            sigma = v @ matrix @ u + (1e-6 if lower_bound else 0)
            kernel = kernel / sigma * (min(sigma, 1) if lower_bound else 1)
            path = f'{path}/layer'
        y = tf.nn.conv2d(x, kernel, stride, 'SAME').numpy() if kernel.ndim == 4 else x @ kernel
        return (y + self.weights[f'{path}/b']) * self.weights.get(f'{path}/g', 1.0)

    def norm(self, path, x):
        if not self.arch.norm:
            return x
        groups = {'batch': 1, 'group': 32, 'instance': x.shape[-1]}[self.arch.norm]
        parts = x if self.arch.norm == 'batch' else x.reshape(*x.shape[:3], groups, -1)
        axes = (0, 1, 2) if self.arch.norm == 'batch' else (1, 2, 4)
        parts = parts - parts.mean(axis=axes, keepdims=True)
        parts = parts / np.sqrt(
            (parts**2).mean(axis=axes, keepdims=True) + (1e-6 if self.arch.norm == 'group' else 1e-3)
        )
        return parts.reshape(x.shape) * self.weights[f'{path}/norm/gamma'] + self.weights[f'{path}/norm/beta']

    def block(self, root, x, temb):
        h = self.affine(f'{root}/conv2d_1/conv', self.act(self.norm(f'{root}/normalize_1', x)))
        h = h + self.affine(f'{root}/dense/dense', self.act(temb))[:, None, None]
        h = self.affine(
            f'{root}/conv2d_2/conv', self.act(self.norm(f'{root}/normalize_2', h)), lower_bound=True
        )
        if x.shape[-1] != h.shape[-1]:
            x = self.affine(
                f'{root}/conv2d_shortcut/conv' if self.arch.conv_shortcut else f'{root}/nin_shortcut/nin', x
            )
        return x + h

    def attention(self, root, x):
        h = self.norm(f'{root}/normalize', x).reshape(len(x), -1, x.shape[-1])
        q, k, v = (self.affine(f'{root}/nin_{name}/nin', h) for name in 'qkv')
        scores = q @ k.transpose(0, 2, 1) * x.shape[-1] ** -0.5
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        h = scores / scores.sum(axis=-1, keepdims=True) @ v
        return x + self.affine(f'{root}/nin_proj_out/nin', h).reshape(x.shape)
