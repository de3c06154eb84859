"""Gemini's generateContent on the Developer API and on Vertex, whole and streamed.

Source: google-genai 3.4.0 `models.py` and `_api_client.py`, and what they send to a loopback server, read 2026-11-22.
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
from pictord.sandbox.fault import Fault, Refusal
from pictord.sandbox.gemini_answer import Answer, usage_metadata
from pictord.sandbox.gemini_faults import Shape
from pictord.sandbox.gemini_form import Form, Job
from pictord.sandbox.sandbox import Sandbox
from pictord.sandbox.usage import Usage, gemini_usage

EVENTS = {"content-type": "text/event-stream"}
EARLY = 0.35  # share of the latency after which thoughts, text and refusals come
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
        if unreadable is not None:
            raise unreadable
        _check_access(call, door)
        model = _model(call, door)
        # uploads are decoded to be checked, which would hold up every other call
        job = await asyncio.to_thread(gemini_form.check, form, model, vertex=door.vertex)
        _take_quota(call, door)
        shape = gemini_faults.shape_answer(call.faults)
        usage = _usage(call, job, shape)
        await call.fail(gemini_faults.REFUSALS, job.model, usage)
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


def _model(call: Call, door: Door) -> tables.Model:
    model = call.sandbox.models("gemini").get(door.model)
    if model is None:
        raise gemini_faults.not_found(door.model, door.version)
    return model


def _take_quota(call: Call, door: Door) -> None:
    exceeded = call.sandbox.quotas.take("gemini", call.record.account, 1)
    if exceeded:
        raise (
            gemini_faults.rate_limited_bare()
            if door.vertex
            else gemini_faults.rate_limited(f"{exceeded[0]:.9f}s", "PerMinute", door.model)
        )


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
    answer = Answer(
        parts=await _parts(call, job, shape),
        shape=shape,
        vertex=door.vertex,
        envelope=_envelope(call, door, shape),
        usage=None if call.fault(["missing_usage"]) else _reported(call, job, usage, door, shape),
    )
    seconds = _seconds(call, job, shape)
    error = call.fault(["error_in_200"])
    if door.stream and not call.fault(["html_in_200"]):
        events = [b"data: " + _error(error) + b"\r\n\r\n"] if error else answer.events()
        words = 0 if error or shape.refused else sum("text" in part for part in answer.parts)
        timed = [wire.Event(seconds * (EARLY if place < words else 1.0), data) for place, data in enumerate(events)]
        await wire.send_events(call, EVENTS | _timing(call, door), timed, lambda: _bill(call, job, usage))
        return
    await call.wait_until(seconds)
    _bill(call, job, usage)
    headers = {"content-type": "application/json; charset=UTF-8"} | _timing(call, door)
    await wire.send_body(call, headers, _error(error) if error else answer.whole(), chunked=True)


def _seconds(call: Call, job: Job, shape: Shape) -> float:
    """Real seconds until the answer; refusals are observed to come fast."""
    simulated = latency.gemini_seconds(call.chance, size=job.size, thinking=job.thinking, edit=bool(job.images))
    return call.seconds(simulated) * (EARLY if shape.refused else 1.0)


def _error(fault: Fault) -> bytes:
    return json.dumps(gemini_faults.in_200(fault), separators=(",", ":")).encode()


def _bill(call: Call, job: Job, usage: Usage) -> None:
    broken = ", ".join(fault.kind for fault in call.faults)
    if call.is_billed():
        call.charge(job.model, usage, f"generated, {broken}" if broken else "generated")
    else:
        call.charge(None, Usage(), f"not billed: {broken}")


async def _parts(call: Call, job: Job, shape: Shape) -> list[dict[str, Any]]:
    """The parts of the candidate in order: thoughts, text, drafts, pictures."""
    parts: list[dict[str, Any]] = []
    if job.thinking and job.include_thoughts and shape.candidates:
        parts.append({"text": THOUGHT, "thought": True})
    if shape.text if shape.text is not None else (job.wants_text and not shape.refused):
        parts.append({"text": "Here is the picture you asked for."})
    if job.wants_image:
        drafts = [await _image_part(call, job, shape, index + 1, 0.8) for index in range(shape.thought_images)]
        parts += [draft | {"thought": True} for draft in drafts]
        parts += [await _image_part(call, job, shape, index) for index in range(shape.images)]
    size = shape.signature_bytes or call.sandbox.settings.signature_bytes
    return [part if not size or "thought" in part else part | _signed(size, place) for place, part in enumerate(parts)]


def _signed(size: int, salt: int) -> dict[str, str]:
    unit = hashlib.sha512(str(salt).encode()).digest()
    return {"thoughtSignature": pybase64.b64encode_as_string((unit * (size // len(unit) + 1))[:size])}


async def _image_part(call: Call, job: Job, shape: Shape, index: int, progress: float = 1.0) -> dict[str, Any]:
    width, height = job.pixels
    repeats = call.chance.occurrence if call.sandbox.settings.vary_repeats and job.seed is None else 0
    scene = Scene(
        provider="gemini",
        model=job.model.id,
        prompt=job.prompt,
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


def _envelope(call: Call, door: Door, shape: Shape) -> dict[str, Any]:
    envelope = {"modelVersion": shape.model_version or door.model, "responseId": call.request_id}
    if door.vertex:
        envelope["createTime"] = datetime.fromtimestamp(call.record.time, UTC).isoformat().replace("+00:00", "Z")
    return envelope


def _reported(call: Call, job: Job, usage: Usage, door: Door, shape: Shape) -> dict[str, Any]:
    thinking = _thinking(call, job)
    return usage_metadata(usage, thinking=thinking, refused=shape.refused, vertex=door.vertex)


def _timing(call: Call, door: Door) -> dict[str, str]:
    milliseconds = (asyncio.get_running_loop().time() - call.started) * 1000
    return {} if door.vertex else {"server-timing": f"gfet4t7; dur={milliseconds:.0f}"}
