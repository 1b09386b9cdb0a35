"""Samples: downloads from files and from a server that misbehaves, Slicer's module Sample Data, the head in process."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from opened import Opened
from turns import settle, until


class Server(BaseHTTPRequestHandler):
    """/moved leads to /data, /wrong has other bytes, /slow never ends, anything else is not there."""

    content = bytes(range(256)) * 4000

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/data")
            self.end_headers()
            return
        if self.path not in ("/data", "/wrong", "/slow"):
            self.send_error(404)
            return
        body = self.content if self.path != "/wrong" else b"something else"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client may hang up
            self.wfile.write(body[:1000] if self.path == "/slow" else body)
            if self.path == "/slow":
                self.server.goes_on.wait(30)  # type: ignore[attr-defined]

    def log_message(self, *_arguments: Any) -> None:
        """Nothing is said."""


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server on this machine."""
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    running.goes_on = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.goes_on.set()  # type: ignore[attr-defined]
    running.shutdown()
    running.server_close()


class Download:
    """One download as a task, and what became of it."""

    def __init__(self, addresses: list[str], path: Path, digest: str | None = None) -> None:
        from MSLFusionPanel.download import download
        from MSLFusionPanel.task import Task

        self.seen: list[tuple[int, int]] = []
        self.problem: str | None = None
        self.ended: list[str] = []
        digest = digest or hashlib.sha512(Server.content).hexdigest()
        self.task = Task(
            None,  # type: ignore[arg-type]
            download(addresses, digest, path, lambda done, total: self.seen.append((done, total))),
            on_done=lambda _value: self.ended.append("done"),
            on_failed=self._failed,
            on_cancelled=lambda: self.ended.append("cancelled"),
        )
        self.task.start()

    def _failed(self, sentence: str) -> None:
        self.problem = sentence
        self.ended.append("failed")

    def wait(self) -> str:
        until(lambda: self.ended)
        assert len(self.ended) == 1
        return self.ended[0]


@pytest.mark.parametrize("page", ["data", "moved"])
def test_a_download_is_checked_and_kept(slicer_app: Any, server: str, tmp_path: Path, page: str) -> None:
    path = tmp_path / "new folder" / "file.bin"
    download = Download([f"{server}/{page}"], path)
    assert download.wait() == "done"
    assert path.read_bytes() == Server.content
    assert download.seen[-1] == (len(Server.content), len(Server.content))
    assert Download(["http://127.0.0.1:1/nobody"], path).wait() == "done"  # it is there already


def test_what_a_store_lacks_the_next_one_gives(slicer_app: Any, server: str, tmp_path: Path) -> None:
    addresses = [f"{server}/none", f"{server}/wrong", f"{server}/data"]
    assert Download(addresses, tmp_path / "file.bin").wait() == "done"
    (tmp_path / "file.bin").write_bytes(b"torn")
    assert Download(addresses, tmp_path / "file.bin").wait() == "done"
    assert (tmp_path / "file.bin").read_bytes() == Server.content


@pytest.mark.parametrize(
    ("page", "reason"), [("/none", "answered 404"), ("/wrong", "not the right file"), (":1/", "check the network")]
)
def test_a_download_that_fails_says_why_and_leaves_nothing(
    slicer_app: Any, server: str, tmp_path: Path, page: str, reason: str
) -> None:
    address = "http://127.0.0.1:1/" if page == ":1/" else f"{server}{page}"
    download = Download([address], tmp_path / "file.bin")
    assert download.wait() == "failed"
    assert reason in str(download.problem)
    assert "file.bin could not be downloaded" in str(download.problem)
    assert list(tmp_path.glob("*.bin*")) == []


def test_a_download_that_is_too_large_is_stopped(
    slicer_app: Any, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MSLFusionPanel import download as module

    monkeypatch.setattr(module, "_LARGEST", 1000)
    download = Download([f"{server}/data"], tmp_path / "file.bin")
    assert download.wait() == "failed"
    assert "too large" in str(download.problem)


def test_a_download_can_be_cancelled(slicer_app: Any, server: str, tmp_path: Path) -> None:
    download = Download([f"{server}/slow"], tmp_path / "file.bin")
    until(lambda: download.seen)
    download.task.cancel()
    assert download.wait() == "cancelled"
    settle()
    assert list(tmp_path.glob("*.bin*")) == []


def test_a_folder_that_cannot_be_written_is_told(slicer_app: Any, server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    download = Download([f"{server}/data"], tmp_path / "file" / "file.bin")
    assert download.wait() == "failed"
    assert "cannot be written" in str(download.problem)


@pytest.fixture
def opened(slicer_app: Any) -> Iterator[Opened]:
    panel = Opened()
    yield panel
    panel.close()


@pytest.fixture
def rire(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slicer_app: Any) -> None:
    """The RIRE patient as two small files in a store on this machine."""
    from MSLFusionPanel import samples

    files = {}
    for role, low in (("ct", -1000), ("mr", 0)):
        image = sitk.GetImageFromArray(np.linspace(low, 1500, 5 * 16 * 17, dtype=np.float32).reshape(5, 16, 17))
        image.SetSpacing((1.25, 1.25, 4.0))
        path = tmp_path / f"{role}.mha"
        sitk.WriteImage(sitk.Cast(image, sitk.sitkInt16), str(path))
        digest = hashlib.sha512(path.read_bytes()).hexdigest()
        path.rename(tmp_path / digest)
        files[role] = samples.RemoteFile(f"training_{role}.mha", digest)
    monkeypatch.setattr(samples, "RIRE", files)
    monkeypatch.setattr(samples, "_STORES", (f"file://{tmp_path}/nowhere/{{digest}}", f"file://{tmp_path}/{{digest}}"))


def test_the_rire_patient_is_loaded_with_its_licence(opened: Opened, rire: None) -> None:
    import slicer

    opened.ui.sampleRireButton.click()
    until(lambda: opened.panel.task is None and opened.parameters.data.mr is not None)
    settle()
    ct, mr = opened.parameters.data.ct, opened.parameters.data.mr
    assert (ct.GetName(), mr.GetName()) == ("RIRE 001 CT", "RIRE 001 T1")
    assert ct.GetSpacing() == (1.25, 1.25, 4.0)
    assert "CC BY 3.0" in ct.GetDescription()
    assert "CC BY 3.0" in opened.text("dataMessage")
    assert opened.kind("dataMessage") == "info"
    assert opened.text("ctMessage") == ""
    assert sorted(p.name for p in Path(slicer.app.cachePath).iterdir()) == ["training_ct.mha", "training_mr.mha"]
    assert "phantom" not in opened.worker.kinds()


def test_without_a_network_the_rire_patient_is_not_there(
    opened: Opened, rire: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MSLFusionPanel import samples

    monkeypatch.setattr(samples, "_STORES", ("http://127.0.0.1:1/{digest}",))
    opened.ui.sampleRireButton.click()
    until(lambda: opened.kind("dataMessage") == "failure")
    assert "could not be downloaded" in opened.text("dataMessage")
    assert opened.parameters.data.ct is None


def test_the_rire_files_are_those_of_the_notebooks(slicer_app: Any, shared_data: Path) -> None:
    from MSLFusionPanel import samples

    local = shared_data / "rire_001_t1" / samples.RIRE["mr"].name
    assert hashlib.sha512(local.read_bytes()).hexdigest() == samples.RIRE["mr"].digest
    assert all(len(file.digest) == 128 for file in samples.RIRE.values())


def test_sample_data_opens_the_module_which_makes_the_head(
    slicer_app: Any, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    from MSLFusionPanel import samples

    modules = []
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: object())
    monkeypatch.setattr(slicer.util, "selectModule", modules.append)
    monkeypatch.setattr(slicer.util, "getModuleWidget", lambda _name: opened)
    opened.worker.held = {"phantom"}
    assert samples.load_head() == []
    assert samples.load_head() == []  # a second press does not cancel
    settle()
    assert modules == ["MSLFusion", "MSLFusion"]
    assert opened.ui.sampleHeadButton.text == "Cancel"
    assert opened.worker.kinds().count("phantom") == 1
    opened.panel.cancel()


def test_sample_data_has_both(slicer_app: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import SampleData
    import slicer

    from MSLFusionPanel import samples

    samples.register(str(tmp_path))
    samples.register(str(tmp_path))
    head, rire = SampleData.SampleDataLogic.sampleDataSourcesByCategory(samples.CATEGORY)
    assert head.customDownloader is not None
    assert rire.customDownloader is None
    assert [checksum.partition(":")[0] for checksum in rire.checksums] == ["SHA512", "SHA512"]
    assert rire.fileNames == ["training_001_ct.mha", "training_001_mr_T1.mha"]
    small = {"size": (16, 16, 6), "spacing_mm": (15.0, 15.0, 30.0), "moving_size": (16, 16, 6)}
    monkeypatch.setattr(samples, "HEAD", {**samples.HEAD, **small, "moving_spacing_mm": (15.0, 15.0, 30.0)})
    ct, mr = head.customDownloader(head)
    assert slicer.mrmlScene.IsNodePresent(ct)
    assert (ct.GetName(), mr.GetName()) == ("Generated head CT", "Generated head T1")
    assert ct.GetImageData().GetDimensions() == (16, 16, 6)
