"""The client's book-keeping, with a worker that is only bytes."""

import numpy as np
import pytest

from MSLFusionLib.client import Assembler, Client, Failure
from MSLFusionLib.wire import Parser, encode


class Line:
    """Both ends of a conversation: what the client sent, and answers to it."""

    def __init__(self):
        self.troubles = []
        self.client = Client(self.take, self.troubles.append)
        self.parser = Parser()
        self.sent = []

    def take(self, piece):
        self.sent += self.parser.feed(piece)

    def answer(self, kind, number, arrays=None, /, **header):
        self.client.receive(b"".join(map(bytes, encode({"type": kind, "id": number, **header}, arrays))))


def test_each_message_reaches_its_own_callbacks():
    line, seen = Line(), []
    first = line.client.hello(on_result=lambda message: seen.append(("hello", message.header["protocol"])))
    second = line.client.decode_volume(
        0.5,
        on_progress=lambda header: seen.append(("progress", header["done"])),
        on_warning=lambda sentence: seen.append(("warning", sentence)),
        on_part=lambda message: seen.append(("part", message.arrays["planes"].shape)),
        on_error=lambda failure: seen.append(("error", failure)),
    )
    assert [message.type for message in line.sent] == ["hello", "decode_volume"]
    assert line.sent[1].header["lambda"] == 0.5
    line.answer("progress", second.id, stage="decode", done=1, total=2, seconds_left=1.0)
    line.answer("warning", second.id, sentence="careful")
    line.answer("part", second.id, {"planes": np.zeros((1, 2, 3), np.float32)}, kind="hybrid", slices=[0])
    line.answer("result", first.id, protocol=1)
    line.answer("error", second.id, sentence="no", exit_code=2, reason="input")
    line.answer("result", second.id)
    line.answer("result", 99)
    assert seen == [
        ("progress", 1),
        ("warning", "careful"),
        ("part", (1, 2, 3)),
        ("hello", 1),
        ("error", Failure("no", 2, "input")),
    ]
    assert first.done
    assert second.done
    assert line.client.calls == []


def test_dropped_requests_end_quietly_and_cancel_names_its_request():
    line, seen = Line(), []
    old = line.client.decode_slice(
        3, 0.1, view="Red", on_dropped=lambda: seen.append("dropped"), on_error=lambda _: seen.append("error")
    )
    line.client.cancel(old)
    line.client.cancel()
    assert [message.header for message in line.sent[1:]] == [{"type": "cancel", "request": old.id}, {"type": "cancel"}]
    line.answer("error", old.id, sentence="", exit_code=1, reason="superseded")
    assert seen == ["dropped"]
    assert old.done


def test_a_map_goes_as_an_array():
    line = Line()
    field = np.random.default_rng(0).random((4, 5), np.float32)
    line.client.decode_slice(0, field)
    assert np.array_equal(line.sent[0].arrays["lambda"], field)
    assert "lambda" not in line.sent[0].header


def test_an_error_in_a_callback_holds_nothing_up():
    line, seen = Line(), []

    def fail(_):
        raise ZeroDivisionError

    calls = [line.client.hello(on_result=fail), line.client.hello(on_result=seen.append)]
    both = b"".join(bytes(piece) for call in calls for piece in encode({"type": "result", "id": call.id}))
    with pytest.raises(ZeroDivisionError):
        line.client.receive(both)
    assert len(seen) == 1
    assert line.client.calls == []


def test_a_callback_may_ask_again_and_let_more_answers_in():
    line, seen = Line(), []

    def again(message):
        seen.append(message.id)
        call = line.client.hello(on_result=lambda later: seen.append(later.id))
        line.answer("result", call.id)  # as an event loop within a callback would do
        seen.append("end of the first")

    first = line.client.hello(on_result=again)
    line.answer("result", first.id)
    assert seen == [1, "end of the first", 2]


def test_a_worker_that_ends_fails_what_is_open():
    line, seen = Line(), []
    line.client.hello(on_error=seen.append)
    line.client.models(on_error=seen.append)
    line.client.closed("The worker ended (exit code 9).")
    assert seen == [Failure("The worker ended (exit code 9).", 1, "worker lost")] * 2
    assert line.client.calls == []


def test_damage_is_told_once_and_fails_what_is_open():
    line, seen = Line(), []
    call = line.client.hello(on_error=seen.append)
    line.client.receive(b"Warning: a library printed this\n")
    line.client.receive(b"and this\n")
    assert len(line.troubles) == 1
    assert "no JSON" in line.troubles[0]
    assert [failure.reason for failure in seen] == ["worker lost"]
    assert call.done


def test_a_refusal_of_the_whole_stream_is_told():
    line = Line()
    line.answer("error", None, sentence="The stream of requests is damaged.", exit_code=2, reason="input")
    assert line.troubles == ["The stream of requests is damaged."]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_parts_make_a_volume(axis):
    line = Line()
    assembler = Assembler((3, 4, 5), axis)
    call = line.client.decode_volume(0.0, on_part=assembler.add)
    whole = np.random.default_rng(1).random((3, 4, 5), np.float32)
    for numbers in ([2], [0, 1]):
        planes = np.moveaxis(whole, axis, 0)[numbers]
        line.answer("part", call.id, {"planes": planes}, kind="hybrid", slices=numbers)
    expected = whole.copy()
    np.moveaxis(expected, axis, 0)[3:] = 0
    assert np.array_equal(assembler.volumes["hybrid"], expected)
