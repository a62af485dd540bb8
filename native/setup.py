"""Builds the kernels for the processor of this machine, with the headers of JAX."""

import os
import sys

import jax
from setuptools import Extension, setup

# JAXCNN_NATIVE_ARCH selects another processor by the compiler's name: x86-64-v3, armv8-a, ...
ARCH = os.environ.get("JAXCNN_NATIVE_ARCH", "native")
FLAGS = ["-std=c++17", "-O2", f"-march={ARCH}", "-ffp-contract=fast", "-fvisibility=hidden", "-Wno-psabi"]

if sys.platform == "win32":
    raise SystemExit("jaxcnn-native: needs GCC or Clang; jaxcnn also works without this package.")

setup(
    ext_modules=[
        Extension(
            "jaxcnn_native._kernels",
            ["kernels.cc"],
            depends=["correlate.h", "geometry.h", "kernel_gradient.h", "parallel.h", "taps.h", "windows.h"],
            include_dirs=[jax.ffi.include_dir()],
            extra_compile_args=FLAGS,
            language="c++",
        )
    ]
)
