"""The arguments of ``nnxrng``, and its exit codes: 0 same, 1 different, 2 trouble."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from pytest_nnxrng.command.terminal import Screen, Trouble, printable, wrapped

SAME, DIFFERENT, TROUBLE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; what goes wrong is one message on stderr."""
    made = parser()
    if "_ARGCOMPLETE" in os.environ:
        _complete(made)
    args = made.parse_args(argv)
    screen = Screen.of()
    try:
        code = import_module(f"pytest_nnxrng.command.{args.module}").run(args, screen)
        screen.flush()
    except BrokenPipeError:
        # Whoever read this has gone. Python would complain once more when it closes stdout.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return TROUBLE
    except KeyboardInterrupt:
        return TROUBLE
    except (Trouble, OSError) as error:
        with contextlib.suppress(OSError):
            screen.flush()
            for line in wrapped(f"nnxrng: {printable(_told(error))}", screen.width):
                print(line, file=sys.stderr)
        return TROUBLE
    return int(code)


def _complete(made: argparse.ArgumentParser) -> None:
    """Answer a shell that completes a command line, and end, where argcomplete is installed."""
    with contextlib.suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(made)


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def parser() -> argparse.ArgumentParser:
    """The parser of all verbs (completion tools find it here, too)."""
    made = argparse.ArgumentParser(
        prog="nnxrng",
        description="Look at the goldens of pytest-nnxrng, compare them, and accept what moved.",
        epilog="Exit codes are diff's: 0 same, 1 different, 2 trouble.",
        allow_abbrev=False,
    )
    verbs = made.add_subparsers(metavar="VERB", required=True)
    _show(verbs)
    _diff(verbs)
    _pending(verbs)
    _accept(verbs)
    _review(verbs)
    _report(verbs)
    _git_config(verbs)
    return made


def _verb(verbs: Any, name: str, module: str, text: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = verbs.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False
    )
    made.add_argument("--json", action="store_true", help="print JSON, for machines")
    made.set_defaults(module=module)
    return made


def _show(verbs: Any) -> None:
    made = _verb(verbs, "show", "show", "show what a golden holds")
    made.add_argument("goldens", nargs="+", metavar="GOLDEN", help="a golden's .json, or REV:path")
    made.add_argument("--tree", action="store_true", help="show leaves as a tree")
    made.add_argument("--keys", action="store_true", help="show the key map alone")
    made.add_argument(
        "--html", metavar="FILE", help="write the golden to FILE as NNX displays a model"
    )
    made.add_argument("--raw", action="store_true", help=argparse.SUPPRESS)  # for git's textconv


def _diff(verbs: Any) -> None:
    made = _verb(verbs, "diff", "diff", "say why goldens differ")
    made.add_argument(
        "sides",
        nargs="+",
        metavar="SIDE",
        help="two goldens, two folders, REV:path, or a report's folder; or REV REV -- PATH",
    )
    made.add_argument("--keys", action="store_true", help="show the key maps, too")
    made.add_argument(
        "--verbose", "-v", action="store_true", help="show every leaf, and the key maps"
    )


def _pending(verbs: Any) -> None:
    made = _verb(verbs, "pending", "pending", "list what a report holds that is not accepted")
    _report_arguments(made)


def _accept(verbs: Any) -> None:
    made = _verb(verbs, "accept", "accept", "copy what a run obtained into the tree of goldens")
    _report_arguments(made)
    made.add_argument(
        "--cause",
        action="append",
        default=[],
        metavar="CAUSES",
        help="goldens all of whose causes are among these: words (draws,added) or the numbers that "
        "nnxrng pending shows (1,3)",
    )
    made.add_argument(
        "--test", action="append", default=[], metavar="TEST", help="a node id, a name, or a glob"
    )
    made.add_argument(
        "--golden", action="append", default=[], metavar="GLOB", help="a golden's path or name"
    )
    made.add_argument(
        "--from",
        dest="approved",
        metavar="FILE",
        help="what was chosen on a report's page: the approvals.json that it saves",
    )
    made.add_argument("--all", action="store_true", help="all that is pending")
    made.add_argument(
        "--dry-run", action="store_true", help="say what would be done, write nothing"
    )
    made.add_argument(
        "--keep-going",
        action="store_true",
        help="write what can be written, though some of the selection is refused",
    )


def _review(verbs: Any) -> None:
    made = _verb(verbs, "review", "review", "decide cause by cause, in a terminal")
    _report_arguments(made)


def _report(verbs: Any) -> None:
    made = _verb(verbs, "report", "merge", "merge the reports of several jobs into one")
    made.add_argument("reports", nargs="+", metavar="DIR", help="a report's folder or zip")
    made.add_argument(
        "--output", "-o", metavar="DIR", help="write the merged report to this folder"
    )
    made.add_argument("--page", metavar="FILE", help="draw the page of a report again, to FILE")


def _git_config(verbs: Any) -> None:
    made = _verb(
        verbs, "git-config", "gitconfig", "let git diff and git log -p show a golden's change"
    )
    made.add_argument(
        "--global", action="store_true", dest="everywhere", help="for all repositories"
    )
    made.add_argument("--undo", action="store_true", help="take it out again")


def _report_arguments(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "reports",
        nargs="*",
        metavar="DIR",
        help="a report's folder, or the zip of a CI artifact (default: nnx-report)",
    )
    made.add_argument("--root", metavar="DIR", help="pytest's root directory (default: is found)")
