"""What a power cut may leave: POSIX promises what was synced, and nothing of the rest.

A name that was made, renamed or deleted is there or not until its folder is synced, each for
itself; content that was not synced is whole or empty.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Change = tuple[str, str, int | None]  # folder, name, which file; None: it is gone


@dataclass
class Disk:
    """Names and files as they were synced, and the changes of names that were not."""

    root: Path
    names: dict[tuple[str, str], int] = field(default_factory=dict)  # as the run sees them
    kept: dict[tuple[str, str], int] = field(default_factory=dict)  # as the disk has them
    pending: list[Change] = field(default_factory=list)
    synced: dict[int, bytes] = field(default_factory=dict)
    content: dict[int, bytes] = field(default_factory=dict)  # what is known of the others

    def __post_init__(self) -> None:
        for number, path in enumerate(sorted(p for p in self.root.rglob("*") if p.is_file())):
            self.names[self._key(path)] = self.kept[self._key(path)] = number
            self.synced[number] = path.read_bytes()

    def _key(self, path: Any) -> tuple[str, str]:
        there = Path(os.path.relpath(path, self.root))
        return str(there.parent), there.name

    def _change(self, path: Any, number: int | None) -> None:
        key = self._key(path)
        self.pending.append((*key, number))
        if number is None:
            self.names.pop(key, None)
        else:
            self.names[key] = number

    def saw(self, event: str, args: tuple[Any, ...]) -> None:
        """Take note of an operation that is about to be done."""
        if event == "create" and self._key(args[0]) not in self.names:
            self._change(args[0], len(self.synced) + len(self.content))
            self.content[self.names[self._key(args[0])]] = b""
        elif event == "os.rename":
            number = self.names[self._key(args[0])]
            self._change(args[1], number)
            self._change(args[0], None)
        elif event == "os.link":
            self._change(args[1], self.names[self._key(args[0])])
        elif event == "os.remove" and self._key(args[0]) in self.names:
            self._change(args[0], None)
        elif event == "fsync":
            self._sync(Path(args[0]))

    def _sync(self, path: Path) -> None:
        if path.is_dir():
            folder = str(Path(os.path.relpath(path, self.root)))
            for change in [one for one in self.pending if one[0] == folder]:
                _apply(self.kept, change)
                self.pending.remove(change)
        else:
            number = self.names[self._key(path)]
            self.synced[number] = path.read_bytes()
            self.content.pop(number, None)

    def look(self) -> None:
        """Take note of what files hold that are not synced."""
        for (folder, name), number in self.names.items():
            if number in self.content and (self.root / folder / name).is_file():
                self.content[number] = (self.root / folder / name).read_bytes()

    def after_a_cut(self) -> Iterator[dict[str, bytes]]:
        """Each state that the disk may be in now: its files by their paths."""
        self.look()
        for chosen in itertools.product((False, True), repeat=len(self.pending)):
            kept = dict(self.kept)
            for change in itertools.compress(self.pending, chosen):
                _apply(kept, change)
            for empty in (False, True):
                yield {
                    f"{folder}/{name}": self.synced.get(
                        number, b"" if empty else self.content.get(number, b"")
                    )
                    for (folder, name), number in kept.items()
                }


def _apply(kept: dict[tuple[str, str], int], change: Change) -> None:
    folder, name, number = change
    if number is None:
        kept.pop((folder, name), None)
    else:
        kept[folder, name] = number
