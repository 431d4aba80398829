"""Compiles a StableHLO module for a TPU that need not be there, in an interpreter that has jax and libtpu
alone.

    python tpu_compiler.py step.mlir v5e:2x2

prints what the compiler said as one line of JSON; `drl_tf.tools.tpu_compile` makes the module and calls
this. jax 0.10.2 with libtpu 0.0.52 serve; no other part of the package needs them.
"""

import json
import os
import re
import sys
import time

_SIZES = ('argument', 'output', 'alias', 'temp', 'generated_code')
_WANTED = re.compile(r'Used ([\d.]+)([KMGT]?) of')


def compiled(text, topology):
    """Compiles a module for one core.

    Args:
      text: the module, StableHLO.
      topology: such as 'v5e:2x2'.

    Returns:
      {'device': its kind, 'seconds': time to compile, 'bytes': what the program needs in all, and
      'temp_bytes' and so on}, or where the compiler refuses {'error': what it says, 'bytes': what it would
      have needed, where it says so}.
    """
    import jax  # noqa: F401  (registers the dialects)
    import numpy as np
    from jax._src.interpreters import mlir
    from jax._src.lib import _jax, xla_client
    from jax.experimental import topologies
    from jaxlib.mlir import ir

    device = topologies.get_topology_desc(platform='tpu', topology_name=topology).devices[0]
    options = xla_client.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    build = options.executable_build_options
    build.num_replicas = build.num_partitions = 1
    options.device_assignment = build.device_assignment = xla_client.DeviceAssignment.create(
        np.zeros([1, 1], np.int32)
    )
    with mlir.make_ir_context():
        module = ir.Module.parse(without_copies(text))
    begin = time.monotonic()
    try:
        program = device.client.compile(module, _jax.DeviceList((device,)), options)
    except Exception as error:  # The compiler's refusals are of no kind of their own.
        return {'device': device.device_kind, 'seconds': time.monotonic() - begin, **refusal(str(error))}
    seconds, memory = time.monotonic() - begin, program.get_compiled_memory_stats()
    sizes = {f'{name}_bytes': getattr(memory, f'{name}_size_in_bytes') for name in _SIZES}
    needed = sum(sizes.values()) - 2 * sizes['alias_bytes']
    return {'device': device.device_kind, 'seconds': seconds, 'bytes': needed, **sizes}


def without_copies(text):
    """The one operation of TensorFlow's modules that is no StableHLO, in other words."""
    return re.sub(r'\bmhlo\.copy\b', 'stablehlo.optimization_barrier', text)


def refusal(message):
    """The first lines of a refusal and, for want of memory, how much was wanted."""
    wanted = _WANTED.search(message)
    size = {'bytes': int(float(wanted[1]) * 1024 ** ' KMGT'.index(wanted[2] or ' '))} if wanted else {}
    return {'error': message[:1000], **size}


if __name__ == '__main__':
    os.environ.update(
        TPU_SKIP_MDS_QUERY='1',
        TPU_ACCELERATOR_TYPE='v5litepod-4',
        TPU_WORKER_HOSTNAMES='localhost',
        JAX_PLATFORMS='cpu',
    )
    with open(sys.argv[1], encoding='utf-8') as file:
        print(json.dumps(compiled(file.read(), sys.argv[2])))
