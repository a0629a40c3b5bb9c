"""Fuzz one of the readers, or one after the other, with atheris, which follows their branches.

    pip install atheris
    PYTHONPATH=. python tests/fuzz/guided.py all --seconds 600

The first content that is not refused as it should be ends it with exit code 1; it stays in
``fuzz-findings/``, and ``--again FILE`` reads it once more.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(
    include=["latency_tables", "supernet", "distillation", "evaluators", "search", "experiments"]
):
    from mutation import damaged_file
    from targets import TARGETS, Target

    from experiments.cli import _meant_for_people

FINDINGS = Path("fuzz-findings")


def check(target: Target, content: bytes, folder: Path) -> None:
    """Read a content; whatever is no refusal in one line that names the file is raised."""
    refusal = target.refusal(content, folder)
    if refusal is None:
        return
    if not _meant_for_people(refusal.__traceback__):
        raise refusal
    if "\n" in str(refusal) or target.name not in str(refusal):
        raise AssertionError(f"refused as {refusal}")


def mutated(target: Target) -> Callable[[bytes, int, int], bytes]:
    """Changes values in place of bytes half of the time, which no fuzzer would come upon."""

    def mutate(content: bytes, largest: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            try:
                return damaged_file(target.file, content, random)[:largest]
            except ValueError:  # no JSON or TOML any more
                pass
        return atheris.Mutate(content, largest)

    return mutate


def fuzz(name: str, seconds: int) -> None:
    """Does not return: libFuzzer ends the process."""
    target = TARGETS[name]
    with TemporaryDirectory() as place:
        folder, corpus = Path(place) / "all" / "run", Path(place) / "corpus"
        for each in (folder, corpus, FINDINGS):
            each.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(target.valid):
            (corpus / str(number)).write_bytes(content)
        options = [
            sys.argv[0],
            str(corpus),
            f"-max_total_time={seconds}",
            f"-artifact_prefix={FINDINGS}/{name}-",
            f"-max_len={max(map(len, target.valid)) + 1000}",
        ]
        atheris.Setup(
            options,
            lambda content: check(target, content, folder),
            custom_mutator=mutated(target),
        )
        atheris.Fuzz()


def main() -> None:
    """Fuzz what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("target", choices=["all", *TARGETS])
    parser.add_argument("--seconds", type=int, default=600, help="for each (default: %(default)s)")
    parser.add_argument("--again", type=Path, help="read this content instead")
    asked = parser.parse_args()
    if asked.again is not None:
        with TemporaryDirectory() as place:
            folder = Path(place) / "run"
            folder.mkdir()
            check(TARGETS[asked.target], asked.again.read_bytes(), folder)
    elif asked.target != "all":
        fuzz(asked.target, asked.seconds)
    else:
        for name in TARGETS:
            command = [sys.executable, __file__, name, f"--seconds={asked.seconds}"]
            print(f"{name}: {asked.seconds} s", flush=True)
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
