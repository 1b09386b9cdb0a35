"""The devices of this machine and their free memory."""

import os
import sys
from typing import Any


def free_memory() -> int | None:
    """Bytes of main memory that a process can still have without swapping; None where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    if sys.platform == "win32":
        return _windows_free_memory()
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def devices() -> list[dict[str, Any]]:
    """The processor, then each CUDA GPU: name (for open_model), label (for people), free_bytes, total_bytes."""
    import torch

    from MSLFusionLib.recon.devices import device_name

    cpu = torch.device("cpu")
    found: list[dict[str, Any]] = [
        {"name": "cpu", "label": device_name(cpu), "free_bytes": free_memory(), "total_bytes": None}
    ]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        device = torch.device("cuda", index)
        free, total = torch.cuda.mem_get_info(device)
        found.append({"name": str(device), "label": device_name(device), "free_bytes": free, "total_bytes": total})
    return found


def _windows_free_memory() -> int | None:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *[(name, ctypes.c_uint64) for name in ("total", "free", "a", "b", "c", "d", "e")],
        ]

    status = Status(length=ctypes.sizeof(Status))
    done = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined, unused-ignore]
    return int(status.free) if done else None
