"""The panel's worker: real processes and sockets behind Qt's event loop."""

import json
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import bare_qt  # noqa: F401 - first
import numpy as np
import pytest
import slicer
from talk import COMMAND, ENVIRONMENT, PLAN, ROOT, head
from tiny import write_model
from turns import settle, until

from MSLFusionLib.client import LOST
from MSLFusionPanel import links, process
from MSLFusionPanel.links import ProcessLink, SocketLink
from MSLFusionPanel.process import Worker
from MSLFusionPanel.task import Task, ask

pytestmark = pytest.mark.usefixtures("app")
HERE = Path(__file__).resolve().parent
TOKEN = "a-token-for-tests-only"


class Application:
    """slicer.app, as far as a worker needs it. bin/PythonSlicer is a launcher with the interpreter as its child."""

    def __init__(self, home):
        self.slicerHome = str(home)
        self.quitting = []

    def connect(self, signal_name, slot):
        assert signal_name == "aboutToQuit()"
        self.quitting.append(slot)

    def disconnect(self, signal_name, slot):
        self.quitting.remove(slot)

    def install(self, command):
        """Let PythonSlicer run this shell command."""
        launcher = Path(self.slicerHome, "bin", "PythonSlicer")
        launcher.parent.mkdir(exist_ok=True)
        launcher.write_text(f"#!/bin/sh\n{command}\nexit $?\n")
        launcher.chmod(0o755)


@pytest.fixture
def application(tmp_path, monkeypatch):
    application = Application(tmp_path)
    monkeypatch.setattr(slicer, "app", application, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "MSLFusion"))
    application.install(f'{shlex.quote(sys.executable)} "$@"')
    yield application
    for link in list(ProcessLink._alive):
        link.kill()
    until(lambda: not ProcessLink._alive)
    settle()
    assert application.quitting == []


class Panel:
    """A worker, and what it told."""

    def __init__(self):
        self.worker = Worker()
        self.sentences, self.lines, self.states = [], [], []
        self.worker.on_message.append(self.sentences.append)
        self.worker.on_log.append(self.lines.append)
        self.worker.on_change.append(lambda: self.states.append(self.worker.state))

    def running(self):
        """The pid of a worker that is ready."""
        self.worker.ensure()
        until(lambda: self.worker.state == "running")
        return self.worker.info["pid"]

    def ask(self, request, parameters=None, arrays=None):
        """The call when it is done."""
        call = self.worker.ensure().request(request, parameters, arrays)
        until(lambda: call.done)
        return call

    def busy(self, request):
        """A call that the worker works at and does not answer."""
        begun = []
        call = self.worker.ensure().request(request, on_progress=begun.append)
        until(lambda: begun)
        return call


@pytest.fixture
def panel(application):
    panel = Panel()
    yield panel
    panel.worker.stop()


@pytest.fixture
def odd(application, panel):
    """A panel whose worker is odd_worker.py."""
    odd_worker(application)
    return panel


def odd_worker(application, *options):
    words = [sys.executable, str(HERE / "odd_worker.py"), *options]
    application.install(shlex.join(words))


def lives(pid):
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_batch_script_answers_through_slicers_python(panel):
    client = panel.worker.ensure()
    assert panel.worker.state == "starting"
    assert panel.worker.ensure() is client
    devices = client.models()
    until(lambda: devices.done)
    assert panel.worker.state == "running"
    assert panel.worker.where == "local"
    assert panel.worker.info["versions"]["mslfusion"]
    assert panel.worker.generation == 1
    assert [model["name"] for model in devices.result.header["models"]] == ["msl-ct-t1"]
    assert panel.sentences == []


def test_a_task_gets_its_answer(panel):
    values = []

    def steps():
        hello = yield ask("hello")
        return hello.header["pid"]

    Task(panel.worker, steps(), on_done=values.append).start()
    until(lambda: values)
    assert values == [panel.worker.info["pid"]]


def test_a_cancelled_reconstruction_leaves_the_worker_alone(panel, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "PATIENCE_MS", 60_000)  # on a busy machine a step can take seconds
    model = write_model(tmp_path / "tiny.safetensors")
    ct, mr = head(200)
    told = []

    def steps():
        yield ask("open_model", str(model), "cpu")
        yield ask("reconstruct", ct=ct, mr=mr, plan=PLAN)

    def progress(stage, done, total, seconds_left):
        if stage not in told:
            told.append(stage)
            task.cancel()

    task = Task(panel.worker, steps(), on_progress=progress, on_cancelled=lambda: told.append("cancelled"))
    task.start()
    until(lambda: not task.active)
    assert told[1:] == ["cancelled"]
    (call,) = panel.worker.client.calls
    until(lambda: call.done)
    assert call.failure.reason == "cancelled"
    assert panel.worker.generation == 1


def test_bytes_of_all_values_arrive_and_the_event_loop_goes_on_meanwhile(odd):
    data = np.frombuffer(random.Random(1).randbytes(24 * 2**20), np.uint8).copy()
    data[: 2**20] = 0
    call = odd.worker.ensure().request("echo", None, {"large": data, "small": data[:300]})
    link = odd.worker._link
    assert link.unsent()
    assert link.sent < 2 * links._BUFFERED  # the rest waits for the worker to read
    until(lambda: call.done)
    assert np.array_equal(call.result.arrays["large"], data)
    assert np.array_equal(call.result.arrays["small"], data[:300])
    assert not link.unsent()


def test_small_arrays_may_change_once_they_are_sent(odd):
    array = np.ones(1000, np.float32)
    call = odd.worker.ensure().request("echo", None, {"lambda": array})
    array[:] = 7
    until(lambda: call.done)
    assert np.all(call.result.arrays["lambda"] == 1)


@pytest.mark.parametrize("victim", ["interpreter", "launcher"])
def test_a_killed_worker_is_replaced_when_something_waited_for_it(odd, victim):
    pid = odd.running()
    call = odd.busy("hold")
    os.kill(pid if victim == "interpreter" else odd.worker._link._process.processId(), signal.SIGKILL)
    until(lambda: odd.sentences)
    assert call.failure.reason == LOST
    assert call.failure.sentence in odd.sentences[0]
    assert "started again" in odd.sentences[0]
    assert odd.worker.generation == 3
    until(lambda: odd.worker.state == "running")
    assert odd.worker.info["pid"] != pid
    until(lambda: not lives(pid))
    assert odd.ask("echo").result is not None


def test_a_worker_that_ends_idle_is_started_when_it_is_needed(odd):
    pid = odd.running()
    os.kill(pid, signal.SIGKILL)
    until(lambda: odd.sentences)
    assert "when it is needed" in odd.sentences[0]
    assert odd.worker.state == "stopped"
    assert odd.worker.client is None
    assert odd.worker.generation == 2
    assert odd.running() != pid


def test_a_worker_that_always_ends_is_given_up_and_says_what_to_do(odd):
    calls = [odd.ask("die", {"words": f"death {number}"}) for number in range(1, 5)]
    assert all(call.failure.reason == LOST for call in calls)
    until(lambda: odd.worker.state == "stopped")
    assert len(odd.sentences) == 4
    assert "4" in odd.sentences[-1]
    assert "death 4" in odd.sentences[-1]
    settle()
    assert odd.worker.state == "stopped"
    assert odd.ask("echo").result is not None  # the user tries again
    assert odd.ask("die").failure is not None
    until(lambda: odd.worker.state == "running")  # an answer came in between


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", 1, "GPU's memory"),
        ("MemoryError", 1, "computer's memory"),
        ("error: [/there/python-real] exit abnormally - Report the problem.", 1, "crashed"),
        ("that was all", 7, "exit code 7"),
    ],
)
def test_the_last_words_of_a_worker_tell_why_it_ended(odd, words, code, sentence):
    call = odd.ask("die", {"words": words, "code": code})
    assert sentence in call.failure.sentence
    assert words in odd.lines


def test_its_log_goes_to_the_panel_and_the_last_lines_are_kept(odd):
    lines = [f"line {number} äöü" for number in range(250)]
    odd.ask("say", {"lines": lines})
    until(lambda: len(odd.lines) == 250)
    assert odd.lines == lines
    assert list(odd.worker.log) == lines[-process.LOG_LINES :]


def test_damaged_answers_end_the_worker_and_start_another(odd):
    pid = odd.running()
    call = odd.ask("rubbish")
    assert call.failure.reason == LOST
    assert "cannot be read" in odd.sentences[0]
    until(lambda: odd.worker.state == "running")
    assert odd.worker.info["pid"] != pid
    until(lambda: not lives(pid))


@pytest.fixture
def looks(monkeypatch):
    """What would be done once the patience with a worker is over: for the test to do."""
    looks = []
    timer = SimpleNamespace(singleShot=lambda ms, look: looks.append(look))
    monkeypatch.setattr(process, "qt", SimpleNamespace(QTimer=timer))
    return looks


def test_a_cancel_that_is_answered_changes_nothing_else(odd, looks):
    call = odd.busy("hold")
    odd.worker.cancel(call)
    until(lambda: call.done)
    assert call.failure.reason == "cancelled"
    (look,) = looks
    look()
    odd.worker.cancel(call)
    assert (odd.worker.generation, odd.sentences, looks) == (1, [], [look])
    assert odd.ask("echo").result is not None


def test_a_cancel_behind_a_volume_has_time_while_it_is_being_sent(odd, looks):
    odd.running()
    client, link = odd.worker.client, odd.worker._link
    client.request("echo", None, {"volume": np.zeros(96 * 2**20, np.uint8)})
    call = client.request("hold")
    odd.worker.cancel(call)
    for number in (1, 2):
        sent = link.sent
        until(lambda sent=sent: link.sent > sent)
        assert link.unsent()
        looks[-1]()
        assert len(looks) == number + 1
    until(lambda: call.done)
    assert call.failure.reason == "cancelled"
    assert odd.worker.generation == 1


def test_a_worker_that_reads_nothing_any_more_is_ended(odd, looks):
    odd.busy("hang")
    call = odd.worker.client.request("echo", None, {"volume": np.zeros(64 * 2**20, np.uint8)})
    settle()
    odd.worker.cancel(call)
    looks[0]()
    assert "did not stop" in call.failure.sentence
    assert odd.worker.generation == 3


def test_a_worker_that_does_not_stop_is_ended(odd, monkeypatch):
    monkeypatch.setattr(process, "PATIENCE_MS", 50)
    pid = odd.running()
    call = odd.busy("hang")
    odd.worker.cancel(call)
    until(lambda: call.done)
    assert "did not stop" in call.failure.sentence
    assert odd.sentences == [call.failure.sentence]
    until(lambda: odd.worker.state == "running")
    until(lambda: not lives(pid))


def test_stopping_leaves_no_process(odd):
    pid = odd.running()
    call = odd.busy("hold")
    launcher = odd.worker._link._process.processId()
    odd.worker.stop()
    assert call.failure.reason == LOST
    assert (odd.worker.state, odd.worker.client) == ("stopped", None)
    until(lambda: not ProcessLink._alive and not lives(pid) and not lives(launcher))
    assert odd.sentences == []
    odd.worker.stop()


def test_a_worker_that_ignores_its_end_is_killed(odd, monkeypatch):
    monkeypatch.setattr(links, "_END_MS", 50)
    pid = odd.running()
    odd.busy("hang")
    odd.worker.stop()
    until(lambda: not ProcessLink._alive and not lives(pid))


def test_half_a_volume_is_enough_to_stop(odd):
    pid = odd.running()
    odd.busy("hold")
    odd.worker.ensure().request("echo", None, {"volume": np.zeros(64 * 2**20, np.uint8)})
    odd.worker.stop()
    until(lambda: not ProcessLink._alive and not lives(pid))


def test_the_application_takes_its_worker_along(odd, application):
    pid = odd.running()
    odd.busy("hang")
    for slot in list(application.quitting):
        slot()
    until(lambda: not lives(pid))
    until(lambda: not ProcessLink._alive)


def test_another_protocol_is_refused(odd, application):
    odd_worker(application, "--protocol", "99")
    call = odd.ask("echo")
    assert call.failure.reason == LOST
    assert "99" in odd.sentences[0]
    assert odd.worker.state == "stopped"
    until(lambda: not ProcessLink._alive)


def test_a_missing_interpreter_is_named(panel, application, monkeypatch):
    Path(application.slicerHome, "bin", "PythonSlicer").unlink()
    monkeypatch.setenv("PATH", "")
    call = panel.ask("hello")
    assert "could not be started" in call.failure.sentence
    assert "PythonSlicer" in panel.sentences[0]
    assert panel.worker.state == "stopped"


def test_a_request_to_a_worker_that_is_gone_fails(odd):
    odd.running()
    client = odd.worker.client
    odd.worker.stop()
    call = client.hello()
    until(lambda: call.done)
    assert call.failure.reason == LOST


def test_callbacks_may_ask_again_and_faults_in_them_disturb_nobody(odd, caplog):
    odd.running()
    again = []
    odd.worker.ensure().request("hold", on_error=lambda failure: again.append(odd.worker.ensure().request("echo")))
    odd.worker.on_change.append(lambda: 1 / 0)
    odd.worker.restart("It was ended.")
    assert odd.sentences == ["It was ended."]
    until(lambda: again[0].done)
    assert again[0].result is not None
    shown = odd.worker.ensure().request("echo", on_result=lambda message: [].pop())
    until(lambda: shown.done)
    assert odd.ask("echo").result is not None
    assert "pop from empty list" in caplog.text


@pytest.fixture
def remote():
    """Port and process of a worker that listens."""
    environment = {**os.environ, **ENVIRONMENT, "MSLFUSION_TOKEN": TOKEN}
    command = [*COMMAND, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as server:
        try:
            yield json.loads(server.stdout.readline())["port"], server
        finally:
            server.kill()


def test_a_remote_worker_answers_and_stays_for_the_next_client(panel, remote):
    port, server = remote
    for generation in (1, 3):
        panel.worker.use_remote(port, TOKEN)
        assert panel.worker.where == f"127.0.0.1:{port}"
        assert panel.running() == server.pid
        assert panel.worker.generation == generation
        assert panel.ask("models", {"folders": ["/nothing/there"]}).result is not None
        panel.worker.stop()
        assert panel.worker.state == "stopped"
    assert server.poll() is None
    assert panel.sentences == []
    panel.worker.use_local()
    assert panel.running() != server.pid


def test_a_wrong_token_is_refused_with_the_workers_sentence(panel, remote):
    port, server = remote
    panel.worker.use_remote(port, "not-the-token-at-all")
    call = panel.ask("models")
    assert call.failure.reason == LOST
    assert "token is wrong" in call.failure.sentence
    assert panel.sentences == [call.failure.sentence]
    assert panel.worker.state == "stopped"
    panel.worker.use_remote(port, TOKEN)
    assert panel.running() == server.pid


def test_where_nobody_listens_the_user_is_told_and_can_try_again(panel):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    panel.worker.use_remote(port, TOKEN)
    for attempt in (1, 2):
        call = panel.ask("models")
        assert f"127.0.0.1:{port}" in call.failure.sentence
        assert len(panel.sentences) == attempt
        assert panel.worker.state == "stopped"


def test_a_remote_worker_that_dies_is_noticed(panel, remote):
    port, server = remote
    panel.worker.use_remote(port, TOKEN)
    panel.running()
    server.kill()
    until(lambda: panel.sentences)
    assert "is gone" in panel.sentences[0]
    assert panel.worker.state == "stopped"


def test_a_socket_takes_much_at_a_time_and_bytes_of_all_values(application):
    data = random.Random(2).randbytes(16 * 2**20)
    received, ends = bytearray(), []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo():
            stranger, _address = server.accept()
            with stranger:
                rest = len(data)
                while rest:
                    piece = stranger.recv(2**16)
                    stranger.sendall(piece)
                    rest -= len(piece)

        thread = threading.Thread(target=echo)
        thread.start()
        link = SocketLink(server.getsockname()[1], received.extend, ends.append)
        link.send(data)
        assert link.unsent()
        until(lambda: ends)
        thread.join()
    assert bytes(received) == data
    assert link.sent == len(data)
    assert not link.unsent()
