"""A worker process that does on request what a real one does only by accident: hang, die, write rubbish.

python odd_worker.py [--protocol N]
"""

import os
import signal
import sys

from MSLFusionLib.wire import PROTOCOL, Parser, encode


def answer(header, arrays=None):
    for piece in encode(header, arrays):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def serve(protocol):
    parser, held = Parser(), []
    while data := os.read(0, 2**20):
        for message in parser.feed(data):
            kind, number, header = message.type, message.id, message.header
            if kind == "hello":
                answer({"type": "result", "id": number, "protocol": protocol, "pid": os.getpid()})
            elif kind == "echo":
                answer({"type": "result", "id": number}, message.arrays)
            elif kind == "hold":
                held.append(number)
                answer({"type": "progress", "id": number, "stage": "holding", "done": 0, "total": 1})
            elif kind == "cancel":
                for one in held:
                    answer(
                        {"type": "error", "id": one, "sentence": "Cancelled.", "exit_code": 1, "reason": "cancelled"}
                    )
                held.clear()
            elif kind == "say":
                for line in header["lines"]:
                    print(line, file=sys.stderr, flush=True)
                answer({"type": "result", "id": number})
            elif kind == "hang":
                answer({"type": "progress", "id": number, "stage": "hanging", "done": 0, "total": 1})
                while True:
                    signal.pause()  # deaf for the end of its input as well
            elif kind == "rubbish":
                os.write(1, b"no message\n")
            elif kind == "die":
                print(header.get("words", "that was all"), file=sys.stderr, flush=True)
                os._exit(header.get("code", 3))


if __name__ == "__main__":
    serve(int(sys.argv[2]) if sys.argv[1:2] == ["--protocol"] else PROTOCOL)
