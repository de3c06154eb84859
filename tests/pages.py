"""Reading pages of Markdown: their blocks, tables and links, and whether a command that they show exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import typer.main

from pictor.cli.app import app as pictor_app
from pictord import cli

ROOT = Path(__file__).parents[1]
COMMANDS = {"pictor": typer.main.get_command(pictor_app), "pictord": typer.main.get_command(cli.cli)}


class Page:
    """One page, and what stands in it."""

    def __init__(self, path: str) -> None:
        self.path = ROOT / path
        self.text = self.path.read_text("utf-8")
        self.prose = re.sub(r"^```.*?^```$", "", self.text, flags=re.MULTILINE | re.DOTALL)

    def blocks(self, language: str) -> list[str]:
        """The fenced blocks of a language."""
        return re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)

    def table(self, first_heading: str) -> list[list[str]]:
        """The rows of the one table whose first column is called so, each cell without its code marks."""
        lines = self.text.splitlines()
        (start,) = [i for i, line in enumerate(lines) if line.startswith(f"| {first_heading} |")]
        rows = []
        for line in lines[start + 2 :]:
            if not line.startswith("|"):
                break
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        assert rows
        return rows

    def section(self, heading: str) -> str:
        """What stands under a heading of the second level, up to the next one."""
        return self.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]

    def anchors(self) -> set[str]:
        """What a link into this page may name."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def links(self) -> Iterator[str]:
        """Every link and picture that leads into this repository."""
        return (link for link in re.findall(r"\]\(([^)\s]+)\)", self.prose) if "://" not in link)

    def shell_lines(self) -> Iterator[list[str]]:
        """Every command of the shell blocks, continued lines joined, comments and what follows a pipe apart."""
        for block in self.blocks("sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.replace("|", " ; "), comments=True)
                while words:
                    end = words.index(";") if ";" in words else len(words)
                    yield words[:end]
                    words = words[end + 1 :]

    def calls(self) -> Iterator[list[str]]:
        """Every `pictor` and `pictord` command, as words: whole lines of shell blocks, and code in the text."""
        inline = [words.split() for words in re.findall(r"`(pictord? [a-z][^`]*)`", self.prose)]
        for words in [*self.shell_lines(), *inline]:
            start = next((i for i, word in enumerate(words) if word in COMMANDS), None)
            if start is not None and all("=" in word for word in words[:start]):
                yield words[start:]


def code(cell: str) -> list[str]:
    """What is marked as code in a cell or a text."""
    return re.findall(r"`([^`\n]+)`", cell)


def broken_links(page: Page) -> list[str]:
    """The links of a page that lead to no file, or to no heading of a page."""
    broken = []
    for link in page.links():
        name, _, anchor = link.partition("#")
        there = page if not name else None
        target = (page.path.parent / name).resolve()
        if name and (not target.exists() or not target.is_relative_to(ROOT)):
            broken.append(link)
            continue
        if anchor and target.suffix == ".md":
            there = Page(str(target.relative_to(ROOT)))
        if anchor and (there is None or anchor not in there.anchors()):
            broken.append(link)
    return broken


class Used(NamedTuple):
    """A command as a page uses it."""

    path: str
    options: tuple[str, ...]


def used(words: list[str]) -> Used:
    """The command that the words call, by its path, and the options given to it and to those above it."""
    command, path, options = COMMANDS[words[0]], [words[0]], []
    rest = list(words[1:])
    while rest:
        word = rest.pop(0)
        names = {name: option for option in command.params for name in (*option.opts, *option.secondary_opts)}
        if word.startswith("--"):
            name = word.partition("=")[0]
            assert name == "--help" or name in names, f"{' '.join(path)} has no {name}"
            options.append(name)
            if name in names and "=" not in word and not getattr(names[name], "is_flag", False) and rest:
                rest.pop(0)
        elif hasattr(command, "commands"):
            assert word in command.list_commands(None), f"{' '.join(path)} has no command {word}"
            command = command.get_command(None, word)
            path.append(word)
    return Used(" ".join(path), tuple(options))
