"""Builds the kernels for the processor at hand, with the headers that come with JAX."""

import os
import sys

import jax
from setuptools import Extension, setup

# JAXCNN_NATIVE_ARCH names another processor than this one, as the compiler does: x86-64-v3, armv8-a, ...
ARCH = os.environ.get("JAXCNN_NATIVE_ARCH", "native")
FLAGS = ["-std=c++17", "-O2", f"-march={ARCH}", "-ffp-contract=fast", "-fvisibility=hidden", "-Wno-psabi"]

if sys.platform == "win32":
    raise SystemExit("jaxcnn-native: needs GCC or Clang; without it jaxcnn runs as it is.")

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
