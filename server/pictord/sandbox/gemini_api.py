"""Gemini's generateContent on the Developer API and on Vertex, whole and streamed.

Source: facts/gemini-images.md sections 2 and 3, read 2026-11-22.
"""

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pybase64
from aiohttp import web

from pictord.sandbox import gemini_faults, gemini_form, latency, tables, wire
from pictord.sandbox.call import Call
from pictord.sandbox.drawing import Encoding, Scene
from pictord.sandbox.fault import Refusal
from pictord.sandbox.gemini_faults import Shape
from pictord.sandbox.gemini_form import Form, Job
from pictord.sandbox.sandbox import Sandbox
from pictord.sandbox.usage import Usage, gemini_usage

EVENTS = {"content-type": "text/event-stream"}
THOUGHT = "**Composing the picture**\n\nI am placing the subject first, then light and colour."


@dataclass(frozen=True)
class Door:
    """Which of Google's two APIs was called, and how."""

    model: str
    version: str
    vertex: bool
    stream: bool


async def generate_content(sandbox: Sandbox, request: web.Request, match: re.Match[str]) -> web.StreamResponse:
    """Answer `POST .../models/{id}:generateContent` or `:streamGenerateContent`."""
    streamed = match["method"] == "streamGenerateContent"
    door = Door(match["model"], match["version"], match["vertex"] is not None, streamed)
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    key = request.headers.get("x-goog-api-key") or request.query.get("key") or bearer
    call = sandbox.receive(request, "gemini", "generate", key)
    refusal = None
    try:
        form = gemini_form.read(await request.read())
    except Refusal as reason:
        form, refusal = Form(), reason
    _record(call, form, door)
    call.accept()
    return await sandbox.serve(call, lambda _: _answer(call, form, door, refusal))


def _record(call: Call, form: Form, door: Door) -> None:
    record = call.record
    record.operation = "edit" if form.images else "generate"
    record.params = {name: value for name, value in form.body.items() if name != "contents"} | {"vertex": door.vertex}
    record.texts, record.prompt = form.texts, "\n".join(form.texts)
    record.prompt_sha256 = hashlib.sha256(record.prompt.encode("utf-8", "surrogatepass")).hexdigest()
    record.model, record.stream = door.model, door.stream
    record.image_sha256 = [hashlib.sha256(image.data).hexdigest() for image in form.images]
    record.image_mime = [image.mime for image in form.images]


async def _answer(call: Call, form: Form, door: Door, unreadable: Refusal | None) -> None:
    try:
        if unreadable:
            raise unreadable
        _check_access(call, door)
        model = tables.models("gemini").get(door.model)
        if model is None:
            raise gemini_faults.not_found(door.model, door.version)
        job = gemini_form.check(form, model, vertex=door.vertex)
        _take_quota(call, door)
        shape = gemini_faults.shape_answer(call.faults)
        usage = _usage(call, job, shape)
        await _fail(call, job, usage)
        await _deliver(call, job, door, shape, usage)
    except Refusal as refusal:
        await call.refuse(refusal)


def _check_access(call: Call, door: Door) -> None:
    if not call.record.account:
        if door.vertex:
            raise gemini_faults.unauthenticated()
        text = (
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or "
            "other form of API consumer identity to call this API."
        )
        raise gemini_faults.status_error(403, text)
    shortest = tables.read("sizes.toml")["gemini"]["shortest_deadline_s"]
    deadline = call.request.headers.get("x-server-timeout")
    if deadline and float(deadline) < shortest * min(1.0, call.sandbox.settings.time_scale):
        text = f"Manually set deadline {deadline}s is too short. Minimum allowed deadline is {shortest}s."
        raise gemini_form.invalid(text)


def _take_quota(call: Call, door: Door) -> None:
    exceeded = call.sandbox.quotas.take("gemini", call.record.account, 1)
    if exceeded:
        raise (
            gemini_faults.rate_limited_bare()
            if door.vertex
            else gemini_faults.rate_limited(f"{exceeded[0]:.9f}s", "PerMinute", door.model)
        )


async def _fail(call: Call, job: Job, usage: Usage) -> None:
    """Raise the error answer that the call's faults ask for, charged if they say so."""
    fault = call.fault(list(gemini_faults.REFUSALS))
    if fault is None:
        return
    after_s = call.seconds(gemini_faults.KINDS[fault.kind].after_s)
    await call.wait_until(fault.number("after_ms", after_s * 1000) / 1000)
    if call.is_billed():
        call.charge(job.model, usage, f"generated, but answered {fault.kind}")
    raise gemini_faults.REFUSALS[fault.kind](fault, call.record.model)


def _usage(call: Call, job: Job, shape: Shape) -> Usage:
    """Tokens of the answer; a refused picture costs the prompt and the thinking."""
    tokens = job.model.tokens
    thinking = _thinking(call, job)
    drawn = 0 if not job.wants_image else shape.images + (shape.thought_images if shape.images == 0 else 0)
    overhead = call.chance.dice("overhead").randint(tokens["overhead"]["least"], tokens["overhead"]["most"])
    return gemini_usage(
        job.model,
        texts=list(job.texts),
        images_in=len(job.images),
        size=job.size,
        images_out=drawn,
        text_out=thinking + (overhead if shape.candidates and (drawn or shape.text) else 0),
    )


def _thinking(call: Call, job: Job) -> int:
    tokens = job.model.tokens["thinking"]
    return call.chance.dice("thinking").randint(tokens["least"], tokens["most"]) if job.thinking else 0


async def _deliver(call: Call, job: Job, door: Door, shape: Shape, usage: Usage) -> None:
    parts = await _parts(call, job, shape)
    simulated = latency.gemini_seconds(call.chance, size=job.size, thinking=job.thinking, edit=bool(job.images))
    share = 0.35 if shape.refused else 1.0  # refusals are observed to come fast
    seconds = call.seconds(simulated) * share
    envelope = _envelope(call, door, shape)
    reported = {} if call.fault(["missing_usage"]) else {"usageMetadata": _reported(call, job, usage, door, shape)}
    if fault := call.fault(["error_in_200"]):
        envelope, reported, parts = gemini_faults.in_200(fault), {}, None

    def bill() -> None:
        _bill(call, job, usage)

    if door.stream and not call.fault(["html_in_200"]):
        events = _events(parts, shape, envelope, reported, door, seconds)
        await wire.send_events(call, EVENTS | _timing(call, door), events, bill)
        return
    await call.wait_until(seconds)
    bill()
    body = envelope if parts is None else _candidates(parts, shape, door, last=True) | reported | envelope
    headers = {"content-type": "application/json; charset=UTF-8"} | _timing(call, door)
    await wire.send_body(call, headers, json.dumps(body, separators=(",", ":")).encode(), chunked=True)


def _bill(call: Call, job: Job, usage: Usage) -> None:
    broken = ", ".join(fault.kind for fault in call.faults)
    if call.is_billed():
        call.charge(job.model, usage, f"generated, {broken}" if broken else "generated")
    else:
        call.charge(None, Usage(), f"not billed: {broken}")


async def _parts(call: Call, job: Job, shape: Shape) -> list[dict[str, Any]]:
    """The parts of the candidate in order: thoughts, text, pictures."""
    parts: list[dict[str, Any]] = []
    if job.thinking and job.include_thoughts and shape.candidates:
        parts.append({"text": THOUGHT, "thought": True})
    if shape.text if shape.text is not None else (job.wants_text and not shape.refused):
        parts.append({"text": "Here is the picture you asked for."})
    if not job.wants_image:
        return parts
    for index in range(shape.thought_images):
        parts.append(await _image_part(call, job, shape, index + 1, progress=0.8) | {"thought": True})
    for index in range(shape.images):
        parts.append(await _image_part(call, job, shape, index))
    signature = shape.signature_bytes or call.sandbox.settings.signature_bytes
    if signature:
        for part in parts:
            if "thought" not in part:
                part["thoughtSignature"] = _signature(signature, len(part))
    return parts


def _signature(size: int, salt: int) -> str:
    unit = hashlib.sha512(str(salt).encode()).digest()
    return pybase64.b64encode_as_string((unit * (size // len(unit) + 1))[:size])


async def _image_part(call: Call, job: Job, shape: Shape, index: int, progress: float = 1.0) -> dict[str, Any]:
    width, height = job.pixels
    repeats = call.chance.occurrence if call.sandbox.settings.vary_repeats and job.seed is None else 0
    scene = Scene(
        provider="gemini",
        model=job.model.id,
        prompt=job.texts[0] if job.texts else "",
        width=width + 32 if shape.odd_pixels else width,
        height=height,
        quality="high" if job.thinking or job.size in ("2K", "4K") else "medium",
        label=f"{job.size}, {job.ratio}",
        seed=job.seed,
        variation=repeats * 16 + index,
        inputs=job.images,
        progress=progress,
    )
    data = await call.draw(scene, Encoding(job.output_format, job.output_quality))
    mime = shape.mime or f"image/{job.output_format}"
    return {"inlineData": {"mimeType": mime, "data": wire.base64_picture(call, data)}}


def _candidates(parts: list[dict[str, Any]], shape: Shape, door: Door, *, last: bool) -> dict[str, Any]:
    """The `candidates` of one answer or of one event of a stream."""
    if shape.block_reason:
        feedback = {"blockReason": shape.block_reason}
        if door.vertex:
            feedback["blockReasonMessage"] = "The prompt could not be submitted."
        return {"promptFeedback": feedback}
    if not shape.candidates:
        return {}
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}}
    if not parts:
        contents = {"null": {"content": {"parts": None}}, "absent": {}, "empty": {"content": {"role": "model"}}}
        candidate = dict(contents.get(shape.parts, contents["empty"]))  # type: ignore[call-overload]  # three literals
    if last:
        candidate["finishReason"] = shape.finish_reason
        if shape.finish_message:
            candidate["finishMessage"] = shape.finish_message
        if door.vertex:
            candidate["avgLogprobs"] = -0.25
    answer: dict[str, Any] = {"candidates": [candidate | {"index": 0}]}
    if last and shape.continuation_token:
        answer["continuationToken"] = shape.continuation_token
    return answer


def _envelope(call: Call, door: Door, shape: Shape) -> dict[str, Any]:
    envelope = {"modelVersion": shape.model_version or door.model, "responseId": call.request_id}
    if door.vertex:
        envelope["createTime"] = datetime.fromtimestamp(call.record.time, UTC).isoformat().replace("+00:00", "Z")
    return envelope


def _reported(call: Call, job: Job, usage: Usage, door: Door, shape: Shape) -> dict[str, Any]:
    """`usageMetadata`: the details do not add up to the candidates, and a refusal repeats its thoughts as candidates."""
    thinking = _thinking(call, job)
    details = [{"modality": "TEXT", "tokenCount": usage.text_in}]
    if usage.image_in:
        details.append({"modality": "IMAGE", "tokenCount": usage.image_in})
    reported: dict[str, Any] = {
        "promptTokenCount": usage.text_in + usage.image_in,
        "totalTokenCount": usage.total,
        "promptTokensDetails": details,
    }
    candidates = usage.image_out + usage.text_out - thinking
    if candidates or (thinking and shape.refused):
        reported["candidatesTokenCount"] = candidates or thinking
    if usage.image_out:
        reported["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": usage.image_out}]
    if thinking:
        reported["thoughtsTokenCount"] = thinking
    if door.vertex:
        reported["trafficType"] = "ON_DEMAND"
    return reported


def _timing(call: Call, door: Door) -> dict[str, str]:
    milliseconds = (asyncio.get_running_loop().time() - call.started) * 1000
    return {} if door.vertex else {"server-timing": f"gfet4t7; dur={milliseconds:.0f}"}


def _events(
    parts: list[dict[str, Any]] | None,
    shape: Shape,
    envelope: dict[str, Any],
    reported: dict[str, Any],
    door: Door,
    seconds: float,
) -> list[wire.Event]:
    """One event for each part, thoughts at a third of the time; usage and finish reason on the last."""
    if parts is None:
        return [wire.Event(seconds, _event(envelope))]
    events = []
    groups = [[part] for part in parts] or [[]]
    for index, group in enumerate(groups):
        last = index == len(groups) - 1
        body = _candidates(group, shape, door, last=last) | (reported if last else {}) | envelope
        early = not last and "inlineData" not in group[0]
        events.append(wire.Event(seconds * (0.3 if early else 1.0), _event(body)))
    return events


def _event(body: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(body, separators=(',', ':'))}\r\n\r\n".encode()
