"""The fuzzer's command."""

from __future__ import annotations

import argparse
import contextlib
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tests.fuzzing


def mutated(whole: list[bytes], chance: random.Random) -> bytes:
    data = bytearray(chance.choice(whole))
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(data))
        to = min(len(data), at + chance.randint(0, 12))
        other = chance.choice(whole)
        piece = chance.randint(0, len(other))
        new = chance.choice((chance.randbytes(to - at), other[piece : piece + 9], b""))
        data[at:to] = new
    return bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=tests.fuzzing.__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("part", choices=("manifest", "values"))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="a folder where inputs of other paths are kept")
    chosen = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
    try:
        import atheris
    except ImportError:
        print("without atheris, and so at random")
        fuzz, instrumented = _at_random, contextlib.nullcontext()
    else:
        fuzz = _guided
        instrumented = atheris.instrument_imports(include=["pytest_nnxrng", "json"])
    with instrumented:
        from tests.fuzzing.target import Target, seeds
    with tempfile.TemporaryDirectory() as name:
        target = Target(Path(name))
        known = [target.whole[chosen.part], *seeds(chosen.part)]
        fuzz(lambda data: target(chosen.part, data), known, chosen)
    return 0


def _at_random(
    one: Callable[[bytes], None], known: list[bytes], chosen: argparse.Namespace
) -> None:
    until, count, chance = time.monotonic() + chosen.seconds, 0, random.Random()
    while time.monotonic() < until:
        data = mutated(known, chance)
        try:
            one(data)
        except BaseException:
            print(f"{data!r}")
            raise
        count += 1
    print(f"{count} inputs, at random")


def _guided(one: Callable[[bytes], None], known: list[bytes], chosen: argparse.Namespace) -> None:
    import atheris

    corpus = chosen.corpus or Path(tempfile.mkdtemp(prefix="fuzz-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(known):
        (corpus / f"seed{number}").write_bytes(data)
    limits = [
        f"-max_total_time={chosen.seconds}",
        "-max_len=6000",
        "-rss_limit_mb=3000",
        "-len_control=0",
    ]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={corpus.parent}/", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
