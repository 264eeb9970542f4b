"""Only what pyproject.toml cannot say: the C extensions. Everything else about the package is there."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "firmware.core._kernel",
            sources=["firmware/core/kernel.c"],
            depends=["firmware/core/checksum.h", "firmware/core/crc.h"],
            # No -march=native: the image is built on one machine and runs on another.
            extra_compile_args=["-O3", "-std=c11", "-Wall", "-Wextra"],
        ),
        Extension(
            "drivers.linux._stamps",
            sources=["drivers/linux/stamps.c"],
            extra_compile_args=["-O3", "-std=c11", "-Wall", "-Wextra"],
        ),
        Extension(
            "firmware.core._digest",
            sources=["firmware/core/digest.c"],
            depends=["firmware/core/checksum.h"],
            extra_compile_args=["-O3", "-std=c11", "-Wall", "-Wextra"],
        ),
        Extension(
            "firmware.core._turnstile",
            sources=["firmware/core/turnstile.c"],
            libraries=["m"],
            extra_compile_args=["-O3", "-std=c11", "-Wall", "-Wextra"],
        ),
        Extension(
            "firmware.core._dense",
            sources=["firmware/core/dense.c"],
            libraries=["m"],
            extra_compile_args=["-O3", "-std=c11", "-Wall", "-Wextra"],
        ),
    ]
)
