"""Native CPU kernels for jaxcnn; importing it registers them with JAX."""

import jax

from jaxcnn_native import _kernels

__all__: list[str] = []

for _name, _handler in _kernels.handlers().items():
    jax.ffi.register_ffi_target(_name, _handler, platform="cpu")
