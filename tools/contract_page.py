"""Write the contract as one page of Markdown, from the descriptor set: contract_page.py SET > PAGE."""

import re
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2 as pb

HEAD = """\
<!-- Written by `make gen` from protos/pictor/v1; change it there. -->

# The contract

All of `pictor.v1`, as in [`protos/pictor/v1`](../protos/pictor/v1). Where a field says nothing else, it is optional in
a request and always there in an answer. What a reason means and what to do is on [a page of its own](errors.md).

"""
FIRST = ("image_service", "history_service", "usage_service", "catalog_service", "generation", "image", "error_reason")
TITLES = {"generation": "Generations and events", "image": "Pictures, money and choices", "error_reason": "Reasons"}
SCALARS = {value: name.removeprefix("TYPE_").lower() for name, value in pb.FieldDescriptorProto.Type.items()}


class File:
    """One file of the contract, as sections of the page."""

    def __init__(self, file: pb.FileDescriptorProto) -> None:
        self.name = Path(file.name).stem
        self.file = file
        self._comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}

    @property
    def title(self) -> str:
        """The heading of its part."""
        return self.file.service[0].name if self.file.service else TITLES[self.name]

    def contents(self) -> str:
        """Its line in the table of contents."""
        service = self.file.service[0] if self.file.service else None
        if service:
            links = [f"[{each.name}](#{anchor(f'{service.name}.{each.name}')})" for each in service.method]
        else:
            links = [link(each.name) for each in (*self.file.message_type, *self.file.enum_type)]
        return f"- **[{self.title}](#{anchor(self.title)})**: {' · '.join(links)}\n"

    def text(self) -> str:
        """Its part of the page."""
        parts = [f"\n---\n\n## {self.title}\n\n"]
        for i, service in enumerate(self.file.service):
            parts.append(reasons_linked(prose(self._comments[6, i])))
            for j, method in enumerate(service.method):
                asks, answers = short(method.input_type), short(method.output_type)
                many = ["stream of " * each for each in (method.client_streaming, method.server_streaming)]
                call = f"{many[0]}{link(asks)} → {many[1]}{link(answers)}"
                says = reasons_linked(prose(self._comments[6, i, 2, j]))
                parts.append(f"\n### {service.name}.{method.name}\n\n{call}\n\n{says}")
        for i, message in enumerate(self.file.message_type):
            parts += self._message(message, (4, i), "")
        parts += [self._enum(enum, (5, i), "") for i, enum in enumerate(self.file.enum_type)]
        return "".join(parts)

    def _message(self, message: pb.DescriptorProto, path: tuple[int, ...], outer: str) -> list[str]:
        name = f"{outer}{message.name}"
        comments = [self._comments.get((*path, 2, i), "").strip() for i in range(len(message.field))]
        rows = [
            f"| `{field.name}` | {self._type(field, message)} | {cell(comment)} |\n"
            for field, comment in zip(message.field, comments, strict=True)
        ]
        table = ["\n| field | type | |\n|---|---|---|\n", *rows] if rows else []
        parts = [f"\n### {name}\n\n{prose(self._comments.get(path, ''))}", *table]
        for i, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                parts += self._message(nested, (*path, 3, i), f"{name}.")
        parts += [self._enum(enum, (*path, 4, i), f"{name}.") for i, enum in enumerate(message.enum_type)]
        return parts

    def _enum(self, enum: pb.EnumDescriptorProto, path: tuple[int, ...], outer: str) -> str:
        values = (
            f"| `{value.name}` | {value.number} | {cell(self._comments.get((*path, 2, i), '').strip())} |\n"
            for i, value in enumerate(enum.value)
        )
        head = (
            f"\n### {outer}{enum.name}\n\n{prose(self._comments.get(path, ''))}\n| value | number | |\n|---|---|---|\n"
        )
        return head + "".join(values)

    def _type(self, field: pb.FieldDescriptorProto, message: pb.DescriptorProto) -> str:
        nested = {f".{self.file.package}.{message.name}.{each.name}": each for each in message.nested_type}
        entry = nested.get(field.type_name)
        if entry is not None and entry.options.map_entry:
            key, value = (self._type(each, message) for each in entry.field)
            return f"map of {key} to {value}"
        kind = link(short(field.type_name)) if field.type_name else SCALARS[field.type]
        if field.label == pb.FieldDescriptorProto.LABEL_REPEATED:
            return f"list of {kind}"
        if field.HasField("oneof_index") and not field.proto3_optional:
            return f"{kind}, one of `{message.oneof_decl[field.oneof_index].name}`"
        return kind


def short(type_name: str) -> str:
    """A type's name within its package."""
    return re.sub(r"^\.(pictor\.v1|google\.protobuf)\.", "", type_name)


def anchor(heading: str) -> str:
    """What a code host makes of a heading."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


def link(name: str) -> str:
    """A type's name that leads to it, unless it is one of protobuf's own."""
    return name if name in ("Duration", "Timestamp", "Empty") else f"[{name}](#{anchor(name)})"


def cell(comment: str) -> str:
    """A comment on one line; what is said of every field at the head of the page is not said again."""
    text = escaped(" ".join(comment.split()).replace("|", "\\|"))
    text = re.sub(r"^(Optional|Output only)\. ", "", text)
    return re.sub(r"^Required\. ", "**Required.** ", text)


def prose(comment: str) -> str:
    """A comment as paragraphs and lists: lines that are set in are the items, set in further they go on."""
    lines = []
    for line in comment.rstrip("\n").split("\n"):
        depth = len(line) - len(line.lstrip())
        words = escaped(line.strip())
        if depth >= 5:
            lines[-1] += f" {words}"
        elif depth >= 3:
            lines += [*([""] if lines and not lines[-1].startswith("- ") else []), f"- {words}"]
        else:
            lines.append(re.sub(r"^Errors:", "**Errors:**", words))
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Without anything that Markdown would read otherwise, outside of code."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([<*])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def reasons_linked(text: str) -> str:
    """What stands in brackets after a code, each reason leading to what to do."""

    def linked(bracket: re.Match[str]) -> str:
        return re.sub(r"\b[A-Z]+(?:_[A-Z]+)*\b", lambda word: to_reason(word[0]), bracket[0])

    return re.sub(r"(?<=[A-Z] )\([^()`]*\)", linked, text)


def to_reason(word: str) -> str:
    """A reason's name that leads to its section; other words as they are."""
    return f"[{word}](errors.md#{word.lower()})" if word in REASONS else word


files = {
    Path(each.name).stem: File(each)
    for each in pb.FileDescriptorSet.FromString(Path(sys.argv[1]).read_bytes()).file
    if each.package == "pictor.v1"
}
if set(files) != set(FIRST):
    sys.exit(f"{__file__}: say in FIRST where they belong: {set(files) ^ set(FIRST)}")
REASONS = {value.name.removeprefix("ERROR_REASON_") for value in files["error_reason"].file.enum_type[0].value[1:]}
contents = [files[name].contents() for name in FIRST]
sys.stdout.write("".join((HEAD, *contents, *(files[name].text() for name in FIRST))))
