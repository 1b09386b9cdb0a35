"""Processes of this machine: which one it is, and ending it with its children. The standard library is enough."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

_PROC = Path("/proc")
_QUICKLY = 5.0
"""Seconds that a question to the system may take."""


def identity(pid: int) -> str:
    """What tells the process from every other one that has or had its number; empty where there is none.

    Linux: boot and start in clock ticks; Windows: the time of its creation; elsewhere the start that `ps` tells.
    """
    if pid <= 0:
        return ""
    if os.name == "nt":
        return _created(pid)
    if (_PROC / "self" / "stat").exists():
        fields = _stat(pid)
        if not fields or fields[0] in "ZX":  # it has ended, only nobody has taken note of it yet
            return ""
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {fields[19]}"
    line = _ps("-o", "state=,lstart=", "-p", str(pid)).strip()
    return "" if line.startswith("Z") else line.partition(" ")[2].strip()


def end_tree(pid: int) -> None:
    """End a process and all that it started, at once and without asking them."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, timeout=_QUICKLY, check=False)
        return
    for one in _tree(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _tree(pid: int) -> list[int]:
    """The process, then its children, then theirs."""
    parents: dict[int, int] = {}
    if (_PROC / "self" / "stat").exists():
        for entry in _PROC.iterdir():
            fields = _stat(int(entry.name)) if entry.name.isdecimal() else []
            if fields:
                parents[int(entry.name)] = int(fields[1])
    else:
        pairs = (line.split() for line in _ps("-A", "-o", "pid=,ppid=").splitlines())
        parents = {int(pair[0]): int(pair[1]) for pair in pairs if len(pair) == 2}
    found = [pid]
    for parent in found:
        found += [child for child, its in parents.items() if its == parent]
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (state, parent, ...); [] when there is no such process."""
    try:
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _ps(*words: str) -> str:
    try:
        return subprocess.run(
            ["ps", *words], capture_output=True, text=True, timeout=_QUICKLY, check=False, env={"LC_ALL": "C"}
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _created(pid: int) -> str:
    """Windows: when the process was created, empty where it has ended."""
    if sys.platform != "win32":
        return ""
    import ctypes
    from ctypes import wintypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = wintypes.HANDLE
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return ""
    handle = wintypes.HANDLE(handle)
    try:
        times = [wintypes.FILETIME() for _ in range(4)]
        code = wintypes.DWORD()
        if not kernel.GetProcessTimes(handle, *map(ctypes.byref, times)):
            return ""
        if kernel.GetExitCodeProcess(handle, ctypes.byref(code)) and code.value != 259:  # STILL_ACTIVE
            return ""
        return str(times[0].dwHighDateTime << 32 | times[0].dwLowDateTime)
    finally:
        kernel.CloseHandle(handle)
