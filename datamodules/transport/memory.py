"""How the C library deals with memory that is freed and wanted again in every step."""

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the process keep the memory of freed tensors, as GPU allocators do; returns whether the C library can.

    glibc gives large blocks back to the system when they are freed, and each step then takes them anew, page by page,
    filled with zeros. Kept, they are taken once. The process stays as large as its largest step. Trainings on a CPU and
    the loader's workers do it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_THRESHOLD, _LARGEST) and library.mallopt(_TRIM_THRESHOLD, _LARGEST))
