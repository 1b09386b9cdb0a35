"""A training without a network: it keeps its folder as the real one does, and fails where the plan says so.

    python fake_training.py PLAN train CONFIG.toml --output RUN ...

PLAN (JSON): iterations; refuse: sentence before it begins; fail_at, sentence; die_at: iteration to end without a word.
"""

import json
import os
import struct
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from MSLFusionLib.errors import Cancelled, JobError
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionLib.progress import NO_JOB
from MSLFusionTrainingLib.facts import KEY, LAST, read_facts
from MSLFusionTrainingLib.logs import LOG, Logs
from MSLFusionTrainingLib.watched import Watched


def save(folder: Path, iteration: int) -> None:
    header = json.dumps({"__metadata__": {KEY: json.dumps({"iteration": iteration})}}).encode()
    with atomic_path(folder / LAST) as temporary:
        temporary.write_bytes(struct.pack("<Q", len(header)) + header)


def validation(iteration: int) -> dict:
    figures = {
        role: {"network": {"psnr": 20 + iteration}, "fbp": {"psnr": 18.0}, "gain_db": 2} for role in ("ct", "mr")
    }
    return figures | {"slices": 1}


def train(run: Watched, plan: dict) -> None:
    folder = run.folder
    first = read_facts(folder / LAST)["iteration"] if (folder / LAST).exists() else 0
    trainer = SimpleNamespace(iteration=first, config=SimpleNamespace(iterations=plan["iterations"]))
    trainer.device, trainer.best = SimpleNamespace(type="cpu"), {"score": None, "iteration": 0}
    (folder / "config.json").write_text(json.dumps({"pixel_mm": 2.0}))
    logs = Logs(folder, first)
    logs._board = None
    run.follow(trainer)
    image = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
    print(f"going on at {first}", flush=True)
    try:
        while trainer.iteration < plan["iterations"]:
            run.job.step("train", trainer.iteration, plan["iterations"])
            trainer.iteration += 1
            now = trainer.iteration
            logs.step(now, 1e-3, 0.01, {"loss": 1 / now, "reconstruction": 0.5 / now, "fusion": 0.0})
            if now == plan.get("fail_at"):
                raise JobError(plan["sentence"])
            if now == plan.get("die_at"):
                print("Segmentation fault", file=sys.stderr, flush=True)
                os._exit(139)
            if now % 10 == 0:
                run.job.step("validate", 0, 1)
                result = validation(now)
                with (folder / "validation.jsonl").open("a") as file:
                    file.write(json.dumps({"iteration": now, **result}) + "\n")
                with (folder / "sample.npz.part").open("wb") as file:
                    np.savez(file, iteration=now, roles=["ct", "mr"], images=np.stack([[image, image, image]] * 2))
                os.replace(folder / "sample.npz.part", folder / "sample.npz")
                trainer.best = {"score": 20.0 + now, "iteration": now}
                save(folder, now)
            time.sleep(0.005)
    except Cancelled:
        save(folder, trainer.iteration)
        raise


def main() -> None:
    plan, words = {"iterations": 100_000, **json.loads(sys.argv[1])}, sys.argv[2:]
    if "refuse" in plan:
        sys.exit(f"mslfusion: error: {plan['refuse']}")
    folder = Path(words[words.index("--output") + 1])
    run = Watched(folder, "mine", plan["iterations"], NO_JOB, str, "cpu")
    run.begin()
    try:
        with run:
            train(run, plan)
    except JobError as error:
        sys.exit(f"mslfusion: error: {error}")
    assert (folder / LOG).exists()


main()
