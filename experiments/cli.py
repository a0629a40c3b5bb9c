"""The command ``evounet``: its commands, and how a fault is told to people.

Only light modules are imported here, so that ``evounet --help`` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
from types import TracebackType
from typing import NoReturn

import typer

from experiments.commands import (
    analyze,
    bench,
    compare,
    dashboard,
    distill,
    export,
    forecast,
    jobs,
    plan,
    profile,
    report,
    run,
    search,
    submit,
    sweep,
    tables,
    train,
)

_ROOMS = ("latency_tables", "supernet", "distillation", "evaluators", "search", "experiments")

app = typer.Typer(
    name="evounet",
    help="Hardware-aware neural architecture search for text-to-image diffusion UNets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(analyze.analyze)
app.command()(profile.profile)
app.add_typer(tables.app, name="tables")
app.add_typer(train.app, name="train")
app.add_typer(distill.app, name="distill")
app.command()(run.run)
app.command()(forecast.forecast)
app.command()(search.search)
app.command()(sweep.sweep)
app.command()(search.resume)
app.command()(plan.plan)
app.command()(submit.submit)
app.add_typer(jobs.app, name="jobs")
app.add_typer(export.app, name="export")
app.command()(compare.compare)
app.command()(report.report)
app.command()(dashboard.dashboard)
app.command()(bench.bench)


# What the system may have against a path that a user gave.
_REFUSALS = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
)


def main() -> None:
    """Run the command line.

    Bad input ends with one clear line and exit code 2, and so do a full disk and files that the
    system does not let us have; work that no evaluator could do with exit code 1.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        app()
    except (ValueError, ConnectionError) as error:
        if not _meant_for_people(error.__traceback__):
            raise
        _end(error, 2)
    except Exception as error:  # whichever library wrote: each says in its own way what is wrong
        from evaluators.work import EvaluatorError
        from experiments.disk_space import lacks_space

        if lacks_space(error):
            _end(
                "no space left on the disk; make room and go on with the same command, a search "
                "with 'evounet resume'",
                2,
            )
        if isinstance(error, OSError) and error.errno in _REFUSALS and error.filename is not None:
            _end(f"{error.filename}: {error.strerror}; correct the path, or its permissions", 2)
        if not isinstance(error, EvaluatorError):
            raise
        _end(error, 1)


def _end(why: object, code: int) -> NoReturn:
    print(f"evounet: {why}", file=sys.stderr)
    sys.exit(code)


def _meant_for_people(trace: TracebackType | None) -> bool:
    """Whether an error was raised by evounet itself; any other one is a bug and shows its trace."""
    module = ""
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
    return module.partition(".")[0] in _ROOMS


if __name__ == "__main__":
    main()
