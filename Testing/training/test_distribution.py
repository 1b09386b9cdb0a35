"""Several processes: Lightning Fabric carries them, and they are one run with a larger batch."""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_bench import TINY, config, trainer

from MSLFusionLib.errors import InputError
from MSLFusionTrainingLib.data import load_heads
from MSLFusionTrainingLib.distribution import start
from MSLFusionTrainingLib.state import LAST, read_facts

ROOT = Path(__file__).resolve().parents[2]


def curve(folder: Path) -> list[float]:
    with (folder / "log.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


SLURM = {
    **{"SLURM_JOB_ID": "12345", "SLURM_JOB_NAME": "msl", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"},
    **{"SLURM_NODEID": "0", "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_JOB_NODELIST": "127.0.0.1"},
}
"""What srun tells each of two processes on one machine, beside its number."""


@pytest.mark.parametrize("way", ["--devices", "torchrun", "SLURM"])
def test_two_processes_give_the_curve_of_the_doubled_batch(way: str, tmp_path: Path) -> None:
    pytest.importorskip("lightning.fabric")
    settings = config(batch=4, iterations=4, log_every=1, validation_slices=1, heads=1, slices=4, validation_heads=0)
    slices = load_heads(settings, [settings.head_seed], tmp_path / "heads")
    trainer(settings, slices, tmp_path / "one").run()
    file = tmp_path / "half.toml"
    values = {name: value for name, value in settings.to_dict().items() if name not in ("model", "batch")}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    tiny = [f"{name} = {value}" for name, value in TINY.items()]
    file.write_text("\n".join([*lines, "batch = 2", "[model]", *tiny]))
    paths = os.pathsep.join(str(ROOT / name) for name in ("MSLFusion", "MSLFusionTraining"))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    words = ["-m", "MSLFusionLib.cli", "train", str(file), "--output", str(tmp_path / "two")]
    words += ["--cache", str(tmp_path / "heads"), "--device", "cpu"]
    if way == "torchrun":
        port = str(free_port())
        commands = [["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port, *words]]
        environments = [environment]
    elif way == "SLURM":
        commands = [[*words, "--devices", "2"]] * 2
        own = SLURM | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        ranks = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in (0, 1)]
        environments = [environment | own | rank for rank in ranks]
    else:
        commands, environments = [[*words, "--devices", "2"]], [environment]
    running = [
        subprocess.Popen([sys.executable, *command], env=one, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command, one in zip(commands, environments, strict=True)
    ]
    said = [process.communicate(timeout=600) for process in running]
    assert [process.returncode for process in running] == [0] * len(running), said
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(one) == len(two) == settings.iterations
    assert two == pytest.approx(one, rel=1e-3)
    assert read_facts(tmp_path / "two" / LAST)["processes"] == 2


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_impossible_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="at least 1"):
        start(torch.device("cpu"), 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="2 devices were asked for, but this machine has 0 GPUs"):
        start(torch.device("cuda"), 2)
    monkeypatch.setitem(sys.modules, "lightning.fabric", None)
    with pytest.raises(InputError, match=r"pip install 'mslfusion\[train\]'"):
        start(torch.device("cpu"), 2)


def test_processes_of_torchrun_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    class Fabric:
        global_rank, world_size, device = 3, 6, torch.device("cpu")

        def __init__(self, **settings: object) -> None:
            asked.append(settings)

        def launch(self) -> None:
            pass

    module = type(sys)("lightning.fabric")
    module.Fabric = Fabric  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning.fabric", module)
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    found = start(torch.device("cpu"))
    assert (found.rank, found.world, found.first) == (3, 6, False)
    assert asked == [{"accelerator": "cpu", "devices": 2, "num_nodes": 3, "strategy": "ddp"}]


def test_one_process_needs_no_lightning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning.fabric", None)
    alone = start(torch.device("cpu"))
    assert (alone.rank, alone.world, alone.first) == (0, 1, True)
    assert alone.agree("yes") == "yes"
    assert torch.equal(alone.mean(torch.ones(2)), torch.ones(2))
