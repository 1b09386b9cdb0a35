"""The two streams of the conversation, kept clear of everything else that the process prints or reads."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_IN, _OUT, _ERR = 0, 1, 2


@contextmanager
def private_streams() -> Iterator[tuple[int, int]]:
    """File descriptors that alone lead to the client: (requests, answers).

    Until the end of the block whoever else reads standard input finds it empty, and what libraries print to standard
    output, from Python or C, goes to standard error.
    """
    sys.stdout.flush()
    requests, answers = os.dup(_IN), os.dup(_OUT)
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(nothing, _IN)
        os.dup2(_ERR, _OUT)
        yield requests, answers
    finally:
        sys.stdout.flush()
        os.dup2(answers, _OUT)
        for descriptor in (nothing, answers):
            os.close(descriptor)


def write_all(descriptor: int, pieces: Iterable[memoryview]) -> None:
    """Write all bytes; raises OSError (BrokenPipeError) when nobody reads any more."""
    for piece in pieces:
        while len(piece):
            piece = piece[os.write(descriptor, piece) :]
