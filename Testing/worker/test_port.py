"""A worker that listens on a port: who is let in, and that nothing that comes over the net ends it."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from talk import COMMAND, ENVIRONMENT, PLAN, TIMEOUT, head

from MSLFusionLib import cli
from MSLFusionLib.errors import InputError, JobError
from MSLFusionLib.transport import SocketTransport
from MSLFusionLib.wire import Message, Parser, encode

TOKEN = "a-token-for-tests-only"

SLOW = """
import threading, numpy as np
from MSLFusionLib.worker import listen, loopback, services
loopback.LOGIN_S = 0.2

def counting(self, message, job, part):
    for n in range(10**9):
        job.step("count", n, 10**9)
        part({"kind": "hybrid", "slices": [n]}, {"planes": np.zeros((1, 220, 200), np.float32)})

services.Services._decode_volume = counting
listen(0, "TOKEN", lambda port: print(f'{{"port": {port}}}', flush=True))
""".replace("TOKEN", TOKEN)
"""A worker whose volumes have no end, and that waits for logins only shortly."""


@contextmanager
def listening(command, variables=None):
    """(process, what it announced) of a worker on a port of its own."""
    environment = {**os.environ, **ENVIRONMENT, **(variables or {})}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        log = process.communicate(timeout=TIMEOUT)[1]
    assert b"Traceback" not in log, log.decode()


@pytest.fixture(scope="module")
def port() -> int:
    """The port of a worker that knows TOKEN."""
    with listening([*COMMAND, "--port", "0", "--json"], {"MSLFUSION_TOKEN": TOKEN}) as (_, announced):
        assert announced["token"] is None
        yield announced["port"]


@pytest.fixture
def slow():
    with listening([sys.executable, "-c", SLOW]) as (process, announced):
        yield process, announced["port"]


def message(header, arrays=None) -> bytes:
    return b"".join(map(bytes, encode(header, arrays)))


LOGIN = message({"type": "login", "id": 1, "token": TOKEN})


def answers_to(port: int, data: bytes, ends: bool = True) -> list[Message]:
    """What the worker says to these bytes, until it closes; ends: tell it that no more will come."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as link:
        parser, found = Parser(), []
        try:
            link.sendall(data)
            if ends:
                link.shutdown(socket.SHUT_WR)
            while received := link.recv(2**16):
                found += parser.feed(received)
        except ConnectionError:
            pass  # closed while we still spoke
        assert parser.broken is None
        return found


def answers(port: int) -> None:
    """A client with the token is served."""
    with SocketTransport(port, TOKEN) as worker:
        assert worker.wait(worker.client.hello(), TIMEOUT).header["protocol"] == 1


def test_a_client_works_as_on_the_standard_streams_and_leaves_the_model(port, model_file):
    ct, mr = head()
    with SocketTransport(port, TOKEN) as worker:
        assert worker.wait(worker.client.hello(), TIMEOUT).header["model"] is None
        worker.wait(worker.client.open_model(str(model_file), "cpu"), TIMEOUT)
        worker.wait(worker.client.reconstruct(ct, mr, PLAN), TIMEOUT)
        first = worker.wait(worker.client.decode_slice(2, 0.4), TIMEOUT).arrays["plane"]
        assert first.shape == (44, 40)
    with SocketTransport(port, TOKEN) as worker:
        assert worker.wait(worker.client.hello(), TIMEOUT).header["model"] == str(model_file)
        with pytest.raises(InputError, match="nothing to decode"):
            worker.wait(worker.client.decode_slice(2, 0.4), TIMEOUT)
        worker.wait(worker.client.reconstruct(ct, mr, PLAN), TIMEOUT)
        assert np.array_equal(worker.wait(worker.client.decode_slice(2, 0.4), TIMEOUT).arrays["plane"], first)


@pytest.mark.parametrize(
    ("first", "sentence"),
    [
        (message({"type": "login", "id": 7, "token": "wrong"}), "token is wrong"),
        (message({"type": "login", "id": 7, "token": TOKEN + "\ud800é"}), "token is wrong"),
        (message({"type": "login", "id": 7, "token": [TOKEN]}), "token is wrong"),
        (message({"type": "login", "id": 7}), "token is wrong"),
        (message({"type": "hello", "id": 7}), "Log in first"),
        (message({"type": "login", "id": 7, "token": TOKEN}, {"x": np.zeros(1)}), "Log in first"),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "Log in first"),
        (bytes(range(256)) + b"\n", "Log in first"),
        (b"[" * 4000 + b"\n", "Log in first"),
        (b"x" * 5000, "too long"),
        (b'{"type": "login", "token": "' + b"y" * 2**20, "too long"),
    ],
)
def test_whoever_does_not_log_in_gets_one_sentence(port, first, sentence):
    (answer,) = answers_to(port, first, ends=False)
    assert answer.type == "error"
    assert sentence in answer.header["sentence"]
    assert (answer.header["exit_code"], answer.header["reason"]) == (2, "input")
    assert answer.id in (7, None)
    answers(port)


@pytest.mark.parametrize("first", [b"", b'{"type": "lo', LOGIN[:-1]])
def test_who_goes_before_the_login_is_forgotten(port, first):
    assert answers_to(port, first) == []
    answers(port)


@pytest.mark.parametrize(
    ("later", "sentence"),
    [
        (b"GET / HTTP/1.1\r\n", "no JSON"),
        (b"\xff\xfe\n", "no JSON"),
        (b"x" * (16 * 2**20 + 2), "more than"),
        (b'{"type": "hello", "id": 2, "arrays": [{"name": "a", "dtype": "O", "shape": [1]}]}\n', "type 'O'"),
        (b'{"arrays": [{"name": "a", "dtype": "int8", "shape": [99999999999999]}]}\n', "not possible"),
    ],
)
def test_damage_after_the_login_ends_this_client_only(port, later, sentence):
    welcome, answer = answers_to(port, LOGIN + later, ends=False)
    assert (welcome.type, welcome.id, welcome.header["protocol"]) == ("result", 1, 1)
    assert (answer.type, answer.id, answer.header["reason"]) == ("error", None, "input")
    assert sentence in answer.header["sentence"]
    answers(port)


@pytest.mark.parametrize(
    "later", [b"", b'{"type": "he', message({"type": "register", "id": 2}, {"fixed": np.zeros((9, 99, 99))})[:5000]]
)
def test_who_goes_in_the_middle_of_a_message_is_forgotten(port, later):
    (welcome,) = answers_to(port, LOGIN + later)
    assert welcome.type == "result"
    answers(port)


def test_odd_requests_are_answered_and_survived(port):
    """Headers that are JSON, but of no sense: wrong types, huge numbers, deep nests, names that no file has."""
    odd = [
        {"type": "open_model", "id": 102, "model": "a\0b.safetensors"},
        {"type": "open_model", "id": 103, "model": "\ud800"},
        {"type": ["hello"], "id": 104},
        {"type": "hello", "id": 10**300},
        {"type": "models", "id": 106, "folders": ["\0"]},
        {"type": "login", "id": 107, "token": TOKEN},
        {"type": "cancel", "request": {"x": 1}},
        {"type": "reconstruct", "id": 109, "plan": {"seed": 10**30}},
        {"type": "decode_slice", "id": True, "view": 3, "index": -(10**40), "lambda": {}},
    ]
    with SocketTransport(port, TOKEN) as worker:
        for header in odd:
            worker.send(message(header))
        worker.send(b'{"type": "metrics", "id": 110, "lambdas": [1e999]}\n')
        assert worker.wait(worker.client.hello(), TIMEOUT).type == "result"


def test_random_bytes_are_survived(port):
    generator = random.Random(5)
    for begin in (b"", LOGIN, LOGIN + b'{"type": "hello", "id": 2, "arrays": ['):
        for _ in range(8):
            answers_to(port, begin + generator.randbytes(generator.randrange(1, 3000)))
    answers(port)


def test_a_second_client_is_told_that_the_worker_is_taken(port):
    with SocketTransport(port, TOKEN) as first:
        with pytest.raises(JobError, match="serves another client"):
            SocketTransport(port, TOKEN)
        with pytest.raises(InputError, match="token is wrong"):
            SocketTransport(port, "not the token at all")
        assert first.wait(first.client.hello(), TIMEOUT).type == "result"
    answers(port)


def test_only_this_machine_can_connect(port):
    with pytest.raises(OSError):  # noqa: PT011 (refused here, no such address elsewhere)
        socket.create_connection(("127.0.0.2", port), 5).close()


def test_what_a_client_leaves_running_is_stopped(slow):
    process, port = slow
    for _ in range(3):
        with SocketTransport(port, TOKEN) as worker:
            parts = []
            worker.client.decode_volume(0.5, on_part=parts.append)
            worker.until(lambda parts=parts: parts, TIMEOUT)
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as link:
        link.sendall(LOGIN + message({"type": "decode_volume", "id": 2}))
        link.recv(1000)  # and reads no more, so that the worker waits within a part
    answers(port)
    assert process.poll() is None


def test_silence_is_no_way_to_keep_others_out(slow):
    _, port = slow
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as silent:
        answers(port)
        (answer,) = Parser().feed(silent.recv(2**16))
        assert "No login came" in answer.header["sentence"]
        assert silent.recv(1) == b""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once(slow, number):
    process, port = slow
    with SocketTransport(port, TOKEN) as worker:
        parts = []
        call = worker.client.decode_volume(0.5, on_part=parts.append)
        worker.until(lambda: parts, TIMEOUT)
        process.send_signal(number)
        worker.until(lambda: call.done, TIMEOUT)
        assert call.failure.reason == "worker lost"
    assert process.wait(TIMEOUT) == -number
    with pytest.raises(JobError, match="No worker listens"):
        SocketTransport(port, TOKEN)


def test_shutdown_ends_it(slow):
    process, port = slow
    with SocketTransport(port, TOKEN) as worker:
        worker.wait(worker.client.shutdown(), TIMEOUT)
    assert process.wait(TIMEOUT) == 0


def test_without_a_token_one_is_made_and_shown():
    process = subprocess.Popen(
        [*COMMAND, "--port", "0"], stdout=subprocess.PIPE, env={**os.environ, **ENVIRONMENT}, encoding="utf-8"
    )
    try:
        words = process.stdout.readline().split()
        assert words[:3] == ["Listening", "on", "127.0.0.1,"]
        with SocketTransport(int(words[4].rstrip(",")), words[-1]) as worker:
            assert len(words[-1]) >= 40
            worker.wait(worker.client.shutdown(), TIMEOUT)
        assert process.wait(TIMEOUT) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_token_comes_from_a_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    with listening([*COMMAND, "--port", "0", "--json", "--token-file", str(path)]) as (_, announced):
        answers(announced["port"])


@pytest.mark.parametrize(
    ("words", "content", "sentence"),
    [
        (["--token-file", "FILE"], TOKEN, "give --port too"),
        (["--port", "0", "--token-file", "FILE"], None, "cannot be read"),
        (["--port", "0", "--token-file", "FILE"], "short", "16 to 256 characters"),
        (["--port", "0", "--token-file", "FILE"], "", "16 to 256 characters"),
        (["--port", "0", "--token-file", "FILE"], "with blanks between the words", "without blanks"),
        (["--port", "0", "--token", TOKEN], None, "unrecognized"),
        (["--port", "65536"], None, "from 0 to 65535"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path, capsys, words, content, sentence):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
        path.chmod(0o600)
    assert cli.main(["worker", *(word.replace("FILE", str(path)) for word in words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line


def test_a_port_that_is_taken_is_told(port, tmp_path):
    done = subprocess.run(
        [*COMMAND, "--port", str(port)], capture_output=True, env={**os.environ, **ENVIRONMENT}, check=False
    )
    assert done.returncode == 2
    assert b"cannot be had" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="file modes of POSIX")
def test_a_token_that_others_may_read_is_warned_of(tmp_path, port):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o644)
    done = subprocess.run(
        [*COMMAND, "--port", str(port), "--token-file", str(path)],
        capture_output=True,
        env={**os.environ, **ENVIRONMENT},
        check=False,
    )
    assert b"Others on this machine may read" in done.stderr
