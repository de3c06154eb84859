"""What a generateContent answer with HTTP 200 looks like, whole or as a stream.

Source: google-genai 3.4.0 `types.py` (`GenerateContentResponse`) and answers pasted in public, read 2026-11-22.
"""

import json
from dataclasses import dataclass
from typing import Any

from pictord.sandbox.gemini_faults import Shape
from pictord.sandbox.usage import Usage

NO_PARTS: dict[str, dict[str, Any]] = {
    "null": {"content": {"parts": None}},
    "absent": {},
    "empty": {"content": {"role": "model"}},
}
"""The three ways in which a candidate without picture is observed to come."""


@dataclass(frozen=True)
class Answer:
    """One answer, before it is put on the wire."""

    parts: list[dict[str, Any]]
    shape: Shape
    vertex: bool
    envelope: dict[str, Any]
    """`modelVersion`, `responseId` and, on Vertex, `createTime`."""
    usage: dict[str, Any] | None
    """`usageMetadata`, or None if a fault keeps it back."""

    def whole(self) -> bytes:
        """The JSON of the unary call."""
        return _json(self._body(self.parts, last=True))

    def events(self) -> list[bytes]:
        """The events of the streamed call: one for each part; usage and finish reason on the last."""
        groups = [[part] for part in self.parts] or [[]]
        bodies = [self._body(group, last=index == len(groups) - 1) for index, group in enumerate(groups)]
        return [b"data: " + _json(body) + b"\r\n\r\n" for body in bodies]

    def _body(self, parts: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
        usage = {"usageMetadata": self.usage} if last and self.usage is not None else {}
        return self._content(parts, last=last) | usage | self.envelope

    def _content(self, parts: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
        if self.shape.block_reason:
            message = {"blockReasonMessage": "The prompt could not be submitted."} if self.vertex else {}
            return {"promptFeedback": {"blockReason": self.shape.block_reason} | message}
        if not self.shape.candidates:
            return {}
        token = self.shape.continuation_token if last else None
        candidates = {"candidates": [self._candidate(parts, last=last)]}
        return candidates | ({"continuationToken": token} if token else {})

    def _candidate(self, parts: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
        content = {"content": {"role": "model", "parts": parts}} if parts else NO_PARTS.get(self.shape.parts, {})
        end: dict[str, Any] = {"finishReason": self.shape.finish_reason} if last else {}
        if last and self.shape.finish_message:
            end["finishMessage"] = self.shape.finish_message
        if last and self.vertex:
            end["avgLogprobs"] = -0.25
        return content | end | {"index": 0}


def usage_metadata(usage: Usage, *, thinking: int, refused: bool, vertex: bool) -> dict[str, Any]:
    """`usageMetadata` with its oddities.

    The candidates' details do not add up to their count, a refusal repeats its thoughts as candidates, and
    `thoughtsTokenCount` is missing when there are none; the total is always right.
    """
    details = [{"modality": "TEXT", "tokenCount": usage.text_in}]
    if usage.image_in:
        details.append({"modality": "IMAGE", "tokenCount": usage.image_in})
    metadata: dict[str, Any] = {
        "promptTokenCount": usage.text_in + usage.image_in,
        "totalTokenCount": usage.total,
        "promptTokensDetails": details,
    }
    candidates = usage.image_out + usage.text_out - thinking
    if candidates or (thinking and refused):
        metadata["candidatesTokenCount"] = candidates or thinking
    if usage.image_out:
        metadata["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": usage.image_out}]
    if thinking:
        metadata["thoughtsTokenCount"] = thinking
    if vertex:
        metadata["trafficType"] = "ON_DEMAND"
    return metadata


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
