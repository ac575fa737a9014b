"""``nnxrng git-config``: git shows goldens as rows, and ``git difftool`` as causes.

A diff driver's own ``command`` would take ``git difftool`` away, and a tool that is missing would
be fatal: so a text conversion for ``git diff`` and ``git log -p``, and a difftool beside it.
"""

from __future__ import annotations

import argparse
import subprocess

from pytest_nnxrng.command.terminal import Screen, Trouble
from pytest_nnxrng.run.settings import FOLDER

# Where the command is gone, git diff shows the manifest itself.
SETTINGS = {
    "diff.nnxrng.textconv": 'f() { nnxrng show --raw "$1" 2>/dev/null || cat "$1"; }; f',
    "diff.nnxrng.cachetextconv": "false",
    "difftool.nnxrng.cmd": 'nnxrng diff "$LOCAL" "$REMOTE"',
    "difftool.nnxrng.trustExitCode": "false",
}
ATTRIBUTES = f"**/{FOLDER}/**/*.json diff=nnxrng"


def run(args: argparse.Namespace, screen: Screen) -> int:
    scope = "--global" if args.everywhere else "--local"
    for name, value in SETTINGS.items():
        if args.undo:
            _git(scope, "--unset-all", name, missing=5)
        else:
            _git(scope, "--replace-all", name, value)
    if args.json:
        settings = {} if args.undo else SETTINGS
        screen.json({"scope": scope[2:], "set": settings, "attributes": ATTRIBUTES})
        return 0
    if args.undo:
        screen.say(f"Taken out of git's {scope[2:]} configuration: {', '.join(SETTINGS)}.")
        screen.say("The line in .gitattributes, if there is one, says nothing without them.")
        return 0
    for name, value in SETTINGS.items():
        screen.line(f"  {name} = {value}")
    screen.say("Now goldens need this line in .gitattributes:")
    screen.line(f"  {ATTRIBUTES}", "green")
    screen.say("git diff and git log -p then show their rows, and the causes are told by:")
    screen.line("  git difftool --tool=nnxrng --no-prompt -- '*__nnx_snapshots__*.json'")
    return 0


def _git(scope: str, *args: str, missing: int | None = None) -> None:
    """Change git's configuration; the exit code ``missing`` says that there was nothing to do."""
    try:
        done = subprocess.run(
            ["git", "config", scope, *args], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise Trouble("git is not installed, or not on PATH") from None
    if done.returncode not in (0, missing):
        told = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Trouble(f"git config {scope} failed: {told}")
