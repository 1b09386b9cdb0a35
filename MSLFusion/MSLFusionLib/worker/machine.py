"""The devices of this machine and their memory."""

import os
import platform
import subprocess
import sys
from typing import Any


def free_memory() -> int | None:
    """Bytes of main memory that a process can still have without swapping; None where the system does not tell."""
    return _memory("MemAvailable:", "free", "SC_AVPHYS_PAGES")


def total_memory() -> int | None:
    """Bytes of main memory; None where the system does not tell."""
    return _memory("MemTotal:", "total", "SC_PHYS_PAGES")


def processor_name() -> str:
    """The processor's name for people, with the number of its cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = " ".join((_model_name() or platform.machine()).split())
    return f"{name} ({cores} core{'' if cores == 1 else 's'})"


def devices() -> list[dict[str, Any]]:
    """The processor, then each CUDA GPU: name (for open_model), label (for people), free_bytes, total_bytes."""
    import torch

    found: list[dict[str, Any]] = [
        {"name": "cpu", "label": processor_name(), "free_bytes": free_memory(), "total_bytes": total_memory()}
    ]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free: int | None
        total: int | None
        try:
            free, total = torch.cuda.mem_get_info(index)
        except RuntimeError:  # taken whole by another process, say: it is there all the same
            free, total = None, torch.cuda.get_device_properties(index).total_memory
        label = torch.cuda.get_device_name(index)
        found.append({"name": f"cuda:{index}", "label": label, "free_bytes": free, "total_bytes": total})
    return found


def _memory(linux: str, windows: str, posix: str) -> int | None:
    """A figure by its name in /proc/meminfo, in Windows' memory status, or in sysconf."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith(linux):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    if sys.platform == "win32":
        return _windows_memory(windows)
    try:
        return os.sysconf(posix) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _model_name() -> str | None:
    if sys.platform == "darwin":
        asked = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, encoding="utf-8", check=False).stdout
    if sys.platform == "win32":
        return platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next((line.partition(":")[2] for line in file if line.startswith("model name")), None)
    except OSError:
        return None


def _windows_memory(figure: str) -> int | None:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *[(name, ctypes.c_uint64) for name in ("total", "free", "a", "b", "c", "d", "e")],
        ]

    status = Status(length=ctypes.sizeof(Status))
    done = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined, unused-ignore]
    return int(getattr(status, figure)) if done else None
