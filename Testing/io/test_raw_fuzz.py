"""A short run of the fuzzer of raw data, always the same one; the long one is `make fuzz`."""

import json
import os
import subprocess
import sys
from pathlib import Path

TESTING = Path(__file__).parents[1]
COUNT = 200


def test_damaged_files_end_in_one_clear_error():
    folders = [TESTING, TESTING.parent / "MSLFusion"]
    words = [sys.executable, TESTING / "raw_fuzz.py", "--count", COUNT, "--seed", 7]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, env=environment, check=False)
    summary = json.loads(done.stdout)
    assert summary["failures"] == []
    assert done.returncode == 0
    assert summary["refused"] + summary.get("read", 0) == COUNT
    assert summary["refused"] > 0.8 * COUNT
