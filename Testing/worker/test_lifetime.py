"""How a worker begins, stops and ends: cancel, newer requests, shutdown, and clients that go away."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
from talk import COMMAND, ENVIRONMENT, PLAN, TIMEOUT, head

from MSLFusionLib.client import Client, Volume
from MSLFusionLib.transport import SubprocessTransport
from MSLFusionLib.wire import Message, Parser
from MSLFusionLib.worker.inbox import Inbox
from MSLFusionLib.worker.serve import Worker
from MSLFusionLib.worker.services import Services

SLICES = 12

COUNTING = f"""
import threading, numpy as np
from MSLFusionLib.worker import serve, services

def volume(self, message, job, part):
    for n in range({SLICES}):
        job.step("count", n, {SLICES})
        part({{"kind": "hybrid", "slices": [n]}}, {{"planes": np.zeros((1, 220, 200), np.float32)}})
    return {{}}, {{}}

def stuck(self, message, job, part):
    job.step("stuck", 0, 1)
    threading.Event().wait()

services.Services._decode_volume = volume
services.Services._register = stuck
serve()
"""
"""A worker that sends parts without computing anything, and whose registration takes for ever."""


class SlowReader:
    """A worker whose answers are read only when the test wants to: it fills the pipe and waits.

    Planes of the volume used here are larger than a pipe, so a request with several of them cannot finish before.
    """

    def __init__(self, command):
        environment = {**os.environ, **ENVIRONMENT}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment
        )
        self.client = Client(self.process.stdin.write)

    def read(self) -> bool:
        data = os.read(self.process.stdout.fileno(), 2**14)
        self.client.receive(data)
        return bool(data)

    def until(self, condition):
        while not condition():
            assert self.read(), "the worker ended"

    def wait(self, call):
        self.until(lambda: call.done)
        assert call.result is not None, call.failure
        return call.result

    def taken(self):
        """Until the worker has read all requests: only then may it be let go on where their order counts."""
        import fcntl  # of POSIX, as the pipe's own count of bytes is
        import termios

        deadline = time.monotonic() + TIMEOUT
        while any(fcntl.ioctl(self.process.stdin.fileno(), termios.FIONREAD, bytes(4))):
            assert time.monotonic() < deadline, "the worker does not read"
            os.sched_yield()

    def end(self) -> int:
        self.process.stdin.close()
        while self.read():
            pass
        self.process.stdout.close()
        return self.process.wait(TIMEOUT)


@contextmanager
def reading_slowly(command):
    reader = SlowReader(command)
    try:
        yield reader
    finally:
        reader.process.kill()
        for stream in (reader.process.stdin, reader.process.stdout):
            stream.close()
        reader.process.wait(TIMEOUT)


@pytest.fixture(scope="module")
def slow(model_file):
    """A slowly read worker with a session of a head whose planes are large."""
    with reading_slowly(COMMAND) as reader:
        reader.wait(reader.client.open_model(str(model_file), "cpu"))
        ct, mr = wide_head()
        reader.wait(reader.client.reconstruct(ct, mr, PLAN))
        yield reader


@pytest.fixture
def counting():
    """A slowly read worker that only counts."""
    with reading_slowly([sys.executable, "-c", COUNTING]) as reader:
        yield reader


def wide_head() -> tuple[Volume, Volume]:
    """Few network pixels, many voxels: each plane has 180 kB."""
    ct, mr = head(slices=SLICES, spacing=0.8, across=(220, 200))
    return ct, mr


def started(reader, **callbacks):
    """A decode_volume that has sent its first part and cannot go on before the test reads."""
    parts, wanted = [], callbacks.pop("view", None)
    call = reader.client.decode_volume(0.5, view=wanted, on_part=parts.append, **callbacks)
    reader.until(lambda: parts)
    return call, parts


def test_cancel_stops_a_running_request_and_the_worker_goes_on(slow):
    call, parts = started(slow)
    waiting = slow.client.sensor_images()
    slow.client.cancel(waiting)
    slow.client.cancel(call)
    slow.until(lambda: call.done and waiting.done)
    assert call.failure.reason == waiting.failure.reason == "cancelled"
    assert len(parts) < SLICES
    assert slow.wait(slow.client.decode_slice(5, 0.5)).arrays["plane"].shape == (220, 200)


def test_a_slider_never_queues_and_is_answered_within_a_long_request(slow):
    volume, parts = started(slow)
    order = []
    old = [slow.client.decode_slice(3, lam, view="Red", on_dropped=lambda: order.append("dropped")) for lam in (0, 0.1)]
    other = slow.client.decode_slice(4, 0.2, view="Green", on_result=lambda _: order.append("green"))
    new = slow.client.decode_slice(3, 0.9, view="Red", on_result=lambda _: order.append("red"))
    slow.taken()
    slow.until(lambda: volume.done)
    assert all(call.dropped for call in old)
    assert new.result is not None
    assert other.result is not None
    assert order == ["dropped", "dropped", "green", "red"]
    assert len(parts) == SLICES
    expected = slow.wait(slow.client.decode_slice(3, 0.9)).arrays["plane"]
    assert np.array_equal(new.result.arrays["plane"], expected)


def test_a_newer_volume_for_the_same_view_replaces_the_running_one(slow):
    old, parts = started(slow, view="output")
    newer = slow.client.decode_volume(0.7, view="output")
    other = slow.client.decode_volume(0.7, view="second output")
    slow.until(lambda: newer.done and other.done)
    assert old.dropped
    assert len(parts) < SLICES
    assert newer.result is not None
    assert other.result is not None


def test_shutdown_cancels_and_ends(counting):
    call, _ = started(counting)
    waiting = counting.client.metrics([0.5])
    last = counting.client.shutdown()
    counting.until(lambda: last.done)
    assert call.failure.reason == waiting.failure.reason == "cancelled"
    assert counting.end() == 0


def test_end_of_input_ends_the_worker_in_the_middle_of_a_request(counting):
    call, parts = started(counting)
    assert counting.end() == 0
    assert len(parts) < SLICES
    assert call.result is None


def test_a_worker_stuck_in_a_library_ends_with_its_client(counting):
    seen = []
    counting.client.register(*head(), on_progress=seen.append)
    counting.until(lambda: seen)
    counting.process.stdin.close()
    assert counting.process.wait(TIMEOUT) == 1


def test_a_cancelled_reconstruction_leaves_the_one_before(slow):
    before = slow.wait(slow.client.decode_slice(5, 0.4)).arrays["plane"]
    ct, mr = wide_head()
    call = slow.client.reconstruct(ct, mr, {**PLAN, "views": 16})
    slow.client.cancel(call)
    slow.until(lambda: call.done)
    assert call.failure is not None
    assert call.failure.reason == "cancelled"
    after = slow.wait(slow.client.decode_slice(5, 0.4)).arrays["plane"]
    assert after == pytest.approx(before, abs=2e-5)


def test_a_worker_that_is_killed_fails_what_is_open(model_file):
    failures = []
    transport = SubprocessTransport(COMMAND, ENVIRONMENT)
    transport.client.open_model(str(model_file), on_error=failures.append)
    transport.process.kill()
    transport.until(lambda: failures, TIMEOUT)
    assert failures[0].reason == "worker lost"
    assert transport.close() != 0


def test_a_worker_ends_when_its_client_is_killed():
    """The pipe that the worker alone holds open as its standard error tells when it is gone."""
    code = f"""
import sys, os, signal
sys.path.insert(0, {ENVIRONMENT["PYTHONPATH"]!r})
from MSLFusionLib.transport import SubprocessTransport
worker = SubprocessTransport({COMMAND!r}, {ENVIRONMENT!r})
worker.wait(worker.client.hello())
os.kill(os.getpid(), signal.SIGKILL)
"""
    client = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    log = client.stderr.read()  # returns when client and worker have both closed it
    client.stderr.close()
    assert client.wait(TIMEOUT) == -9
    assert b"Traceback" not in log


def test_a_damaged_stream_is_refused_with_one_sentence():
    started = subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **ENVIRONMENT},
    )
    out, log = started.communicate(b"GET / HTTP/1.1\r\n", TIMEOUT)
    (message,) = Parser().feed(out)
    assert (message.type, message.id, message.header["exit_code"]) == ("error", None, 2)
    assert "no JSON" in message.header["sentence"]
    assert started.returncode == 2
    assert log.count(b"\n") == 1


def test_only_messages_reach_the_client_whatever_libraries_print():
    code = """
import os, sys
from MSLFusionLib.worker.streams import private_streams, write_all
print("before")
with private_streams() as (requests, answers):
    print("from Python")
    os.system("echo from a child")
    os.write(1, b"from C")
    assert sys.stdin.read() == ""
    write_all(answers, [memoryview(os.read(requests, 100)), memoryview(b"!")])
print("after")
"""
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(
        [sys.executable, "-c", code], input=b"clean", capture_output=True, env=environment, check=True
    )
    assert done.stdout.split() == [b"before", b"clean!after"]
    for stray in (b"from Python", b"from a child", b"from C"):
        assert stray in done.stderr


def test_a_running_preview_is_let_through_when_a_newer_one_comes():
    """Else a slider that moves without rest would show nothing until it stops."""
    inbox = Inbox()
    for number in (1, 2):
        inbox.put(Message({"type": "decode_slice", "id": number, "view": "Red"}))
    running = inbox.take()
    assert [(message.id, reason) for message, reason in inbox.take_refused()] == [(1, "superseded")]
    inbox.put(Message({"type": "decode_slice", "id": 3, "view": "Red"}))
    assert (running.id, inbox.stop) == (2, None)
    inbox.put(Message({"type": "cancel", "request": 2}))
    assert inbox.stop == "cancelled"
    assert inbox.take().id == 3
    assert inbox.stop is None


def test_a_fault_of_ours_is_told_traced_and_survived(monkeypatch, capsys):
    def fails():
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("MSLFusionLib.worker.services.devices", fails)
    inbox, parser, answers = Inbox(), Parser(), []
    later = [Message({"type": "hello", "id": 2}), Message({"type": "shutdown", "id": 3})]

    def take(pieces):
        for piece in pieces:
            for answer in parser.feed(piece):
                answers.append(answer)
                inbox.put(later.pop(0)) if later else None

    inbox.put(Message({"type": "devices", "id": 1}))
    Worker(inbox, take, Services()).run()
    assert [(answer.id, answer.type) for answer in answers] == [(1, "error"), (2, "result"), (3, "result")]
    assert answers[0].header["reason"] == "fault"
    assert "division by zero" in answers[0].header["sentence"]
    assert "Traceback" in capsys.readouterr().err
