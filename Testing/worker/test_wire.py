"""Messages as bytes: whole in any pieces, refused when damaged."""

import json

import numpy as np
import pytest

from MSLFusionLib import wire
from MSLFusionLib.wire import Parser, ProtocolError, encode


def joined(*messages) -> bytes:
    return b"".join(bytes(piece) for message in messages for piece in encode(*message))


def described(*arrays) -> bytes:
    return json.dumps({"type": "x", "id": 1, "arrays": list(arrays)}).encode() + b"\n"


def conversation(random: np.random.Generator) -> list[tuple[dict, dict]]:
    messages = []
    for number in range(12):
        arrays = {}
        for index in range(random.integers(0, 4)):
            shape = random.integers(0, 6, random.integers(1, 5))
            arrays[f"a{index}"] = random.integers(0, 200, shape).astype(random.choice(wire.DTYPES))
        text = "".join(map(chr, random.integers(1, 0x3000, 30)))
        messages.append(({"type": "x", "id": number, "text": text, "value": float(random.random())}, arrays))
    return messages


@pytest.mark.parametrize("seed", range(30))
def test_any_chunking_gives_the_same_messages(seed):
    random = np.random.default_rng(seed)
    sent = conversation(random)
    stream, parser, found = joined(*sent), Parser(), []
    largest = int(random.choice([1, 3, 50, 1000, len(stream)]))
    while stream:
        n = int(random.integers(1, largest + 1))
        found += parser.feed(stream[:n])
        stream = stream[n:]
    assert parser.idle
    assert len(found) == len(sent)
    for message, (header, arrays) in zip(found, sent, strict=True):
        assert message.header == header
        assert list(message.arrays) == list(arrays)
        for name, array in arrays.items():
            got = message.arrays[name]
            assert (got.dtype, got.shape) == (array.dtype, array.shape)
            assert np.array_equal(got, array)
            assert got.flags.writeable


def test_arrays_of_any_layout_are_sent_in_order():
    array = np.arange(24, dtype=">f4").reshape(2, 3, 4)[:, ::-1].transpose(2, 0, 1)
    (message,) = Parser().feed(joined(({"type": "x"}, {"a": array})))
    assert np.array_equal(message.arrays["a"], array)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"[]\n",
        b"null\n",
        b"\xff\xfe\n",
        b'{"type": NaN}\n',
        b"[" * 100_000 + b"\n",
        b"hello, this is a print from a library\n",
        b'{"arrays": 7}\n',
        b'{"arrays": [7]}\n',
        described(*[{"name": str(n), "dtype": "uint8", "shape": [1]} for n in range(wire.MAX_ARRAYS + 1)]),
        described({"name": "a", "dtype": "uint8", "shape": [1]}, {"name": "a", "dtype": "uint8", "shape": [1]}),
        described({"name": 1, "dtype": "uint8", "shape": [1]}),
        described({"name": "a", "dtype": "object", "shape": [1]}),
        described({"name": "a", "dtype": ["float32"], "shape": [1]}),
        described({"name": "a", "dtype": "float32", "shape": []}),
        described({"name": "a", "dtype": "float32", "shape": None}),
        described({"name": "a", "dtype": "float32", "shape": [1] * 5}),
        described({"name": "a", "dtype": "float32", "shape": [-1, 4]}),
        described({"name": "a", "dtype": "float32", "shape": [2.0]}),
        described({"name": "a", "dtype": "float32", "shape": [True]}),
        described({"name": "a", "dtype": "float32", "shape": [2**62, 4]}),
        described({"name": "a", "dtype": "float32", "shape": [0, 2**33, 2**33]}),
        described({"name": "a", "dtype": "uint8", "shape": [wire.MAX_BYTES + 1]}),
        described({"name": "a", "dtype": "float64", "shape": [2**31]}),
    ],
)
def test_damaged_headers_are_refused_before_memory_is_taken(line, monkeypatch):
    monkeypatch.setattr(wire.np, "empty", lambda *_: pytest.fail("memory was taken"))
    parser = Parser()
    before = joined(({"type": "fine"},))
    assert [message.type for message in parser.feed(before + line)] == ["fine"]
    assert parser.broken
    assert parser.feed(before) == []


def test_a_line_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(wire, "MAX_HEADER", 1000)
    whole = b'{"type": "' + b"x" * 987 + b'"}\n'
    assert len(whole) == 1000
    assert len(Parser().feed(whole)) == 1
    for step in (1, 300, 5000):
        parser = Parser()
        for start in range(0, 5000, step):
            assert parser.feed(b"x" * step) == []
            assert bool(parser.broken) == (start + step > 1000)


@pytest.mark.parametrize("seed", range(200))
def test_random_damage_never_raises(seed):
    """Bytes are changed, lost or doubled anywhere; memory stays within the limit given."""
    random = np.random.default_rng(1000 + seed)
    stream = bytearray(joined(*conversation(random)))
    for _ in range(random.integers(1, 8)):
        at = int(random.integers(0, len(stream)))
        kind = random.integers(0, 3)
        if kind == 0:
            stream[at] = int(random.integers(0, 256))
        elif kind == 1:
            del stream[at : at + int(random.integers(1, 20))]
        else:
            stream[at:at] = stream[at : at + int(random.integers(1, 20))]
    parser, found = Parser(max_bytes=100_000), 0
    for start in range(0, len(stream), 97):
        found += len(parser.feed(stream[start : start + 97]))
    assert found <= 24


def test_what_could_not_be_read_is_not_sent():
    with pytest.raises(ProtocolError, match="type 'bool'"):
        encode({"type": "x"}, {"a": np.zeros(3, bool)})
    with pytest.raises(ProtocolError, match="bytes"):
        encode({"type": "x" * wire.MAX_HEADER})
    with pytest.raises(ProtocolError, match="shape"):
        encode({"type": "x"}, {"a": np.zeros((1,) * 5, np.float32)})
    with pytest.raises(ValueError, match="Out of range"):
        encode({"type": float("nan")})
