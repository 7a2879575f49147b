"""The parsers of what comes from another host, under coverage-guided fuzzing (atheris, libFuzzer).

    python -m benchmarks.fuzz [PARSER...] [--runs 1000000]

Each parser may raise its own error and no other, and what it accepts is what it would send. What covers something new
is kept in tests/wire/corpus, a file for each parser, which a test feeds to the parsers again. Takes atheris.
"""

import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from argparse import ArgumentParser
from pathlib import Path

import numpy as np

from detox.wire import Codec, Computed, Header, Kind, Pulse, WireError, Work, claim_of
from detox.wire.connection import Connection
from detox.wire.directory import Directory, Talk, heard, say, told
from detox.wire.evidence import Evidence, Question, piece_digests
from detox.wire.messages import MAGIC
from detox.wire.relay import Assembly
from detox.wire.slices import Routes, Slices

CORPUS = Path(__file__).parents[1] / "tests" / "wire" / "corpus"
_LONGEST = 500  # bytes of an input
_MOST = 4096  # bytes of payload that the stream admits


def header(content: bytes) -> None:
    """A header, with a right checksum where the first byte is even."""
    found, length = Header.read(_sealed(content))
    assert found.pack(length) == _sealed(content)[:32]


def stream(content: bytes) -> None:
    """What comes on a connection, in pieces: each begins with two bytes of length; even ones are sealed headers."""
    pieces, rest = [], content
    while len(rest) > 2:
        length, rest = int.from_bytes(rest[:2], "little") % 600, rest[2:]
        pieces.append(_sealed(b"\0" + rest[:length]) if length % 2 == 0 and length >= 32 else rest[:length])
        rest = rest[length:]
    given = _Pieces(pieces)
    connection = Connection(given, 3)  # type: ignore[arg-type]
    while not connection.lost and given.pieces:
        for message in connection.receive(_admit):
            assert message.header is None or len(message.payload) <= _MOST
            assert message.source == 3


def work(content: bytes) -> None:
    """WORK."""
    assert Work.unpack(content).pack()[:40] == content[:32] + content[32:40]


def pulse(content: bytes) -> None:
    """The start of an ECHO."""
    Pulse.unpack(content)


def slices(content: bytes) -> None:
    """SLICES."""
    assert Slices.unpack(content).pack() == content


def question(content: bytes) -> None:
    """EXAMINE."""
    Question.unpack(content).pack()


def evidence(content: bytes) -> None:
    """EVIDENCE, of a vector of three entries and of one whose pieces are two."""
    wrong = 0
    for size, claim, asked in _ASKED:
        try:
            Evidence.unpack(content, size).checked(claim, asked, size)
        except WireError:
            wrong += 1
    if wrong == 2:
        raise WireError("of neither")


def gradient(content: bytes) -> None:
    """GRADIENT by each codec: it writes nothing outside of the vector."""
    wrong = 0
    for codec in _CODECS:
        room = np.full(codec.size + 64, 7, np.float32)
        try:
            codec.decode(content, room[32:-32])
        except WireError:
            wrong += 1
        assert (room[:32] == 7).all()
        assert (room[-32:] == 7).all()
    if wrong == len(_CODECS):
        raise WireError("by no codec")


def ready(content: bytes) -> None:
    """READY."""
    from detox.launch.ranks import read_facts  # late, for it imports torch
    from detox.ps.selftest import StartError

    try:
        facts = read_facts(4, content)
    except StartError as error:
        raise WireError(str(error)) from None
    assert all(value.isprintable() for pair in facts.items() for value in pair)


def ports(content: bytes) -> None:
    """PEERS of a rank."""
    found = heard(content)
    assert heard(say(found)) == found


def addresses(content: bytes) -> None:
    """PEERS of the PS."""
    found = told(content)
    assert all(isinstance(rank, int) for talk in Talk for rank in found[talk])


def computed(content: bytes) -> None:
    """COMPUTED."""
    assert Computed.unpack(content).pack() == content


def sliced(content: bytes) -> None:
    """SLICE of any rank, of weights of two servers in slices of 1, 1 and 2 entries: rank and number, then the bytes."""
    right = np.arange(4, dtype=np.float32)
    assembly = Assembly((2, 3, 4), 3, [2, 2])
    shares = [(right[:2], 2), (right[2:], 1)]
    for server, (share, count) in enumerate(shares):
        assembly.begin(server, Slices.of(share, Routes((2, 3, 4)), count).digests, 0.0)
    taken = 0
    while len(content) >= 3:
        source, index, length, content = content[0], content[1], content[2], content[3:]
        taken += assembly.take(source, index, content[:length], 1.0)
        content = content[length:]
    assembly.ask(2.0)
    assert not assembly.whole or (assembly.weights == right).all()
    if not taken:
        raise WireError("no slice was right")


PARSERS = {
    parse.__name__: parse
    for parse in (
        *(header, stream, work, pulse, slices, question, evidence, gradient, ready),
        *(ports, addresses, computed, sliced),
    )
}


def feed(name: str, content: bytes) -> bool:
    """Whether the parser accepts it; raises what it must not raise."""
    try:
        PARSERS[name](content)
    except WireError:
        return False
    return True


def read_corpus(name: str) -> list[bytes]:
    """The inputs that are kept for a parser."""
    path = CORPUS / f"{name}.txt"
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def seeds(name: str) -> list[bytes]:
    """What is right, to begin with."""
    one = b"\0" + Header(Kind.CLAIM, 3, 4, 5).pack(32)
    given = {
        "header": [one],
        "stream": [struct.pack("<H", 64) + one[1:] + bytes(32), struct.pack("<H", 33) + one],
        "work": [Work(bytes(32), 3, True, np.arange(4)).pack()],
        "pulse": [Pulse(1.5, 7).pack()],
        "slices": [Slices.of(_SMALL, Routes((1, 2), (3,)), 2).pack()],
        "question": [_QUESTION.pack(), Question(1, (bytes(32),) * 3).pack()],
        "evidence": [Evidence.answer(_SMALL, _QUESTION).pack(), Evidence.answer(_LARGE, _LIKE).pack()],
        "gradient": [bytes(codec.encode(np.ones(codec.size, np.float32))) for codec in _CODECS],
        "ports": [say({Talk.NEAR: 4000, Talk.AMONG: 0})],
        "addresses": [_DIRECTORY.tell([1, 2])],
        "computed": [Computed(0.5, 1.5).pack()],
        "sliced": [b"".join(bytes([source, index, size]) + _FOUR[at : at + size] for source, index, at, size in _DUE)],
        "ready": [b'{"host": "h", "threads": 1}', b'{"error": "no data"}', b'{"loading": 1}'],
    }
    return given[name]


class _Pieces:
    """What stands for a socket: gives each piece in one call."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def recv_into(self, buffer: memoryview) -> int:
        if not self.pieces:
            raise BlockingIOError
        taken = self.pieces[0][: len(buffer)]
        buffer[: len(taken)] = taken
        self.pieces[0] = self.pieces[0][len(taken) :]
        if not self.pieces[0]:
            self.pieces.pop(0)
        return len(taken) if taken else self.recv_into(buffer)

    def getpeername(self) -> tuple[str, int]:
        return "stream", 0

    def close(self) -> None:
        self.pieces = []


def _admit(peer: int, header: Header, length: int) -> str:
    if length > 2**16:
        raise WireError("too long")
    return "too long for its kind" if length > _MOST else ""


def _sealed(content: bytes) -> bytes:
    """What is behind the first byte; with the magic and the checksum of a header, where that is even."""
    start, rest = content[:1], content[1:]
    if len(rest) < 32 or start[0] % 2:
        return rest
    fields = MAGIC + rest[4:28]
    return fields + zlib.crc32(fields).to_bytes(4, "little") + rest[32:]


_QUESTION = Question(2, (bytes(32), bytes(32)))
_SMALL, _LARGE = np.arange(3, dtype=np.float32), np.arange(70_000, dtype=np.float32)
_LIKE = Question(2, tuple(piece_digests(_LARGE)))
_ASKED = [(one.size, claim_of(one), asked) for one, asked in ((_SMALL, _QUESTION), (_LARGE, _LIKE))]
_DIRECTORY = Directory({1: "10.0.0.1", 2: "fd00::2"})
_DIRECTORY.enter(1, {Talk.NEAR: 4000, Talk.AMONG: 4001})
_DIRECTORY.enter(2, {Talk.NEAR: 5000})
_FOUR = np.arange(4, dtype=np.float32).tobytes()
_DUE = ((2, 0, 0, 4), (3, 1, 4, 4), (4, 2, 8, 8))  # who sends it, its number, and where it is
_CODECS = [Codec(3), Codec(3, "none"), Codec(3, "zstd", "shuffle"), Codec(20, signs=16), Codec(3, rounded=2)]


def _fuzz(name: str, folder: str, runs: int) -> None:
    """Fuzzes one parser in this process, which atheris ends."""
    import atheris

    for function in (PARSERS[name], _sealed, Header.read.__func__, Header.pack, Codec.decode, Codec._decompress):
        atheris.instrument_func(function)
    for function in (Connection.receive, Connection._begin, Connection._read, Evidence.checked):
        atheris.instrument_func(function)
    if name == "ready":
        from detox.launch.ranks import read_facts

        atheris.instrument_func(read_facts)
    for function in (heard, told, Assembly.take, Assembly.ask, Assembly.begin):
        atheris.instrument_func(function)
    for kind in (Work, Pulse, Slices, Question, Evidence, Computed):
        atheris.instrument_func(kind.unpack.__func__)
    line = [sys.argv[0], folder, f"-runs={runs}", f"-max_len={_LONGEST}", "-print_final_stats=1", "-rss_limit_mb=4096"]
    atheris.Setup(line, lambda content: feed(name, content) and None)
    atheris.Fuzz()


def main() -> int:
    """Fuzzes each parser in a process of its own, and keeps what covers something new."""
    line = ArgumentParser("benchmarks.fuzz")
    line.add_argument("parsers", nargs="*", choices=[[], *PARSERS])
    line.add_argument("--runs", type=int, default=1_000_000)
    line.add_argument("--folder", help="(of one parser's process)")
    options = line.parse_args()
    if options.folder is not None:
        _fuzz(options.parsers[0], options.folder, options.runs)
    CORPUS.mkdir(exist_ok=True)
    failed = 0
    print("| parser | inputs | seconds | kept |\n|---|---|---|---|", flush=True)
    for name in options.parsers or PARSERS:
        with tempfile.TemporaryDirectory() as folder:
            for number, content in enumerate([*seeds(name), *read_corpus(name)]):
                Path(folder, f"{number}").write_bytes(content)
            own = [sys.executable, "-m", "benchmarks.fuzz", name, "--runs", str(options.runs), "--folder", folder]
            begin = time.monotonic()
            done = subprocess.run(own, capture_output=True, text=True, check=False)
            kept = sorted({path.read_bytes() for path in Path(folder).iterdir()}, key=lambda one: (len(one), one))
        found = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
        print(f"| {name} | {found[1] if found else '?'} | {time.monotonic() - begin:.0f} | {len(kept)} |", flush=True)
        if done.returncode:
            failed += 1
            print(done.stderr[-3000:], file=sys.stderr)
        else:
            (CORPUS / f"{name}.txt").write_text("".join(f"{content.hex()}\n" for content in kept))
    return failed


if __name__ == "__main__":
    sys.exit(main())
