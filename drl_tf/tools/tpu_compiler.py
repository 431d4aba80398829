"""Compiles a StableHLO module for a TPU, on a machine without one.

    python tpu_compiler.py step.mlir v5e:2x2

Prints the compiler's outcome as one line of JSON. `drl_tf.tools.tpu_compile` writes the module and calls this
file with an interpreter that has jax 0.10.2 and libtpu 0.0.52; nothing else in the package needs those.
"""

import json
import math
import os
import re
import sys
import time
from typing import Any

_SIZES = ('argument', 'output', 'alias', 'temp', 'generated_code')
_BOOLEANS = re.compile(r'dense<"0x([0-9A-F]+)"> : tensor<([0-9x]+)xi1>')
_WANTED = re.compile(r'(?:Used |temporaries \()([\d.]+)([KMGT]?)(?: of|\) exceeds)')


def _compiled(text: str, topology: str) -> dict[str, Any]:
    """Compiles a StableHLO module for one TPU core.

    Args:
      text: the module.
      topology: name of the TPU topology, such as 'v5e:2x2'.

    Returns:
      {'device': kind of the core, 'seconds': time to compile, 'bytes': memory that the program needs} and the
      parts of this memory, such as 'temp_bytes'. If the compiler fails: {'device', 'seconds', 'error': the
      compiler's message} and, if memory was short, 'bytes', as `refusal` reads it from the message.
    """
    import jax  # noqa: F401  (registers the dialects)
    import numpy as np
    from jax._src.interpreters import mlir
    from jax._src.lib import _jax, xla_client
    from jax.experimental import topologies
    from jaxlib.mlir import ir

    description = topologies.get_topology_desc(platform='tpu', topology_name=topology)
    device: Any = description.devices[0]  # jax's own annotation cannot be resolved
    options = xla_client.CompileOptions()
    assignment = xla_client.DeviceAssignment.create(np.zeros([1, 1], np.int32))
    for each in (options, options.executable_build_options):
        each.num_replicas = 1
        each.num_partitions = 1
        each.device_assignment = assignment
    with mlir.make_ir_context():
        module = ir.Module.parse(for_jax(text))
    begin = time.monotonic()
    try:
        program = device.client.compile(module, _jax.DeviceList((device,)), options)
    except Exception as error:  # The compiler has no error class of its own.
        return {'device': device.device_kind, 'seconds': time.monotonic() - begin, **refusal(str(error))}
    seconds = time.monotonic() - begin
    memory = program.get_compiled_memory_stats()
    sizes = {f'{name}_bytes': getattr(memory, f'{name}_size_in_bytes') for name in _SIZES}
    needed = sum(sizes.values()) - 2 * sizes['alias_bytes']
    return {'device': device.device_kind, 'seconds': seconds, 'bytes': needed, **sizes}


def for_jax(text: str) -> str:
    """Rewrites a module that TensorFlow printed, so that JAX can read it.

    - `mhlo.copy`, which StableHLO lacks, becomes `stablehlo.optimization_barrier`.
    - In large constants of booleans, TensorFlow prints eight elements in a byte, the first in the lowest bit.
      JAX reads a byte for each element.

    Takes and returns the text of a module.
    """
    text = re.sub(r'\bmhlo\.copy\b', 'stablehlo.optimization_barrier', text)
    return _BOOLEANS.sub(_unpacked, text)


def _unpacked(constant: re.Match[str]) -> str:
    """Returns a constant of booleans with a byte for each element; leaves one alone that has them already."""
    packed, shape = bytes.fromhex(constant[1]), constant[2]
    count = math.prod(map(int, shape.split('x')))
    if len(packed) != math.ceil(count / 8):
        return constant[0]
    bits = [byte >> bit & 1 for byte in packed for bit in range(8)]
    return f'dense<"0x{bytes(bits[:count]).hex().upper()}"> : tensor<{shape}xi1>'


def refusal(message: str) -> dict[str, Any]:
    """Returns the outcome of a compilation that failed.

    Args:
      message: the error message of the compiler.

    Returns:
      {'error': start of the message}. If the program needs more memory than the TPU has, also 'bytes': the
      memory that it needs, or that of its temporary values alone, whichever the message tells.
    """
    found: dict[str, Any] = {'error': message[:1000]}
    wanted = _WANTED.search(message)
    if wanted:
        found['bytes'] = int(float(wanted[1]) * 1024 ** ' KMGT'.index(wanted[2] or ' '))
    return found


if __name__ == '__main__':
    os.environ.update(
        TPU_SKIP_MDS_QUERY='1',
        TPU_ACCELERATOR_TYPE='v5litepod-4',
        TPU_WORKER_HOSTNAMES='localhost',
        JAX_PLATFORMS='cpu',
    )
    with open(sys.argv[1], encoding='utf-8') as file:
        print(json.dumps(_compiled(file.read(), sys.argv[2])))
