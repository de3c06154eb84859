"""The OpenAI Images API: generations and edits, whole and streamed.

Source: openai 3.54.0 `resources/images.py`, `types/images_response.py`, `types/image_gen_*_event.py`,
`types/image_edit_*_event.py`; developers.openai.com/api/reference/resources/images/edit-streaming-events; read
2026-11-22.
"""

import asyncio
import hashlib
import json
from typing import Any

from aiohttp import web

from pictord.sandbox import latency, openai_faults, openai_form, wire
from pictord.sandbox.call import Call
from pictord.sandbox.drawing import Encoding, Scene
from pictord.sandbox.fault import Refusal
from pictord.sandbox.openai_form import Form, Job
from pictord.sandbox.sandbox import Sandbox
from pictord.sandbox.usage import Usage, openai_usage

JSON = {"content-type": "application/json"}
FINEST_JPEG = 90  # output_compression 100; a real 1024x640 JPEG had 36 kB (openclaw#118476)
EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


async def images(sandbox: Sandbox, request: web.Request, operation: str) -> web.StreamResponse:
    """Answer `POST .../images/generations` (operation `generate`) or `.../images/edits` (`edit`)."""
    key = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    call = sandbox.receive(request, "openai", operation, key)
    refusal = None
    try:
        form = await (openai_form.read_json if operation == "generate" else openai_form.read_multipart)(request)
    except Refusal as reason:
        form, refusal = Form(), reason
    _record(call, form)
    call.accept()
    return await sandbox.serve(call, lambda _: _answer(call, form, refusal))


def _record(call: Call, form: Form) -> None:
    record = call.record
    record.params = dict(form.fields)
    record.prompt, record.texts = form.prompt, [form.prompt]
    record.prompt_sha256 = hashlib.sha256(form.prompt.encode("utf-8", "surrogatepass")).hexdigest()
    record.model = str(form.fields.get("model", ""))
    record.stream = form.fields.get("stream") in (True, "true")
    record.image_sha256 = [hashlib.sha256(upload.data).hexdigest() for upload in form.images]
    record.image_mime = [upload.mime for upload in form.images]
    record.mask_sha256 = hashlib.sha256(form.mask.data).hexdigest() if form.mask else None


async def _answer(call: Call, form: Form, unreadable: Refusal | None) -> None:
    try:
        if unreadable is not None:
            raise unreadable
        _check_key(call)
        allowed = call.sandbox.settings.transparent_background
        # uploads are decoded to be checked, which would hold up every other call
        models = call.sandbox.models("openai")
        operation = call.record.operation
        job = await asyncio.to_thread(openai_form.check, form, operation, models, transparent_allowed=allowed)
        _take_quota(call, job)
        await call.fail(openai_faults.REFUSALS, job.model, _usage(job, job.partials))
        await (_stream if job.stream and not call.fault(["non_sse_200"]) else _whole)(call, job)
    except Refusal as refusal:
        await call.refuse(refusal)


def _check_key(call: Call) -> None:
    if not call.record.account:
        text = "You didn't provide an API key. You need to provide your API key in an Authorization header."
        raise Refusal(401, openai_faults.error(text))


def _take_quota(call: Call, job: Job) -> None:
    exceeded = call.sandbox.quotas.take("openai", call.record.account, job.count)
    if exceeded:
        seconds, limit = exceeded
        raise openai_faults.rate_limited(limit, f" Please try again in {seconds:.3f}s.")


def _usage(job: Job, partials: int) -> Usage:
    return openai_usage(
        job.model,
        prompt=job.prompt,
        inputs=list(job.image_sizes),
        size=job.size,
        quality=job.quality,
        count=job.count,
        partials=partials,
    )


def _bill(call: Call, job: Job, partials: int) -> Usage:
    """Charge the call unless its faults say that it costs nothing; the usage to report either way."""
    usage = _usage(job, partials)
    broken = ", ".join(fault.kind for fault in call.faults)
    if call.is_billed():
        call.charge(job.model, usage, f"generated, {broken}" if broken else "generated")
    else:
        call.charge(None, Usage(), f"not billed: {broken}")
    return usage


def _seconds(call: Call, job: Job) -> float:
    edit = call.record.operation == "edit"
    return call.seconds(latency.openai_seconds(call.chance, size=job.size, quality=job.quality, edit=edit))


def _scene(call: Call, job: Job, index: int, progress: float = 1.0) -> Scene:
    repeats = call.chance.occurrence if call.sandbox.settings.vary_repeats else 0
    return Scene(
        provider="openai",
        model=job.model.id,
        prompt=job.prompt,
        width=job.size[0],
        height=job.size[1],
        quality=job.quality,
        label=f"quality {job.quality}",
        variation=repeats * 16 + index,
        inputs=job.images,
        mask=job.mask,
        transparent=job.background == "transparent",
        progress=progress,
    )


async def _draw(call: Call, job: Job, index: int = 0, progress: float = 1.0) -> str:
    encoding = Encoding(job.output_format, min(job.compression, FINEST_JPEG))
    return wire.base64_picture(call, await call.draw(_scene(call, job, index, progress), encoding))


async def _whole(call: Call, job: Job) -> None:
    data = [{"b64_json": await _draw(call, job, index)} for index in range(job.count)]
    await call.wait_until(_seconds(call, job))
    usage = _bill(call, job, 0)
    details = call.sandbox.settings.output_token_details
    payload = {
        "created": int(call.record.time),
        **_described(job),
        "data": data,
        "usage": _reported(usage, details=details),
    }
    if job.safety_identifier:
        payload["safety_identifier"] = job.safety_identifier
    for fault in call.faults:
        payload = openai_faults.spoil_answer(fault, payload)
    await wire.send_body(call, JSON, json.dumps(payload, separators=(",", ":")).encode())


def _described(job: Job) -> dict[str, Any]:
    return {
        "background": job.background,
        "output_format": job.output_format,
        "quality": job.quality,
        "size": f"{job.size[0]}x{job.size[1]}",
    }


def _reported(usage: Usage, *, details: bool) -> dict[str, Any]:
    reported: dict[str, Any] = {
        "input_tokens": usage.text_in + usage.image_in,
        "input_tokens_details": {"image_tokens": usage.image_in, "text_tokens": usage.text_in},
        "output_tokens": usage.image_out,
        "total_tokens": usage.total,
    }
    if details:
        reported["output_tokens_details"] = {"image_tokens": usage.image_out, "text_tokens": 0}
    return reported


async def _stream(call: Call, job: Job) -> None:
    """Partial images at their shares of the latency, then the completed event (with usage, without its details)."""
    shape = openai_faults.shape_stream(call.faults, job.partials)
    seconds = _seconds(call, job)
    family = "image_generation" if call.record.operation == "generate" else "image_edit"
    described = {"created_at": int(call.record.time), **_described(job)}
    events = []
    for index, share in enumerate(latency.partials_at(shape.partials)):
        content = {"b64_json": await _draw(call, job, 0, share), **described, "partial_image_index": index}
        events.append(wire.Event(seconds * share, _event(f"{family}.partial_image", content)))
    if shape.error:
        events.append(wire.Event(seconds, _event(shape.error_name or "", shape.error)))
    elif shape.completed:
        usage = _reported(_usage(job, shape.partials), details=False)
        content = {"b64_json": await _draw(call, job), **described, "usage": usage}
        if job.safety_identifier:
            content["safety_identifier"] = job.safety_identifier
        for fault in call.faults:
            content = openai_faults.spoil_answer(fault, content) if fault.kind == "missing_usage" else content
        events.append(wire.Event(seconds, _event(f"{family}.completed", content)))
    events = _commented(events, comments=shape.comments, done=shape.done_marker)
    await _send(call, job, events or [wire.Event(seconds, b"")], shape.partials)


def _event(name: str, content: dict[str, Any]) -> bytes:
    data = json.dumps({"type": name, **content}, separators=(",", ":"))
    return f"event: {name}\ndata: {data}\n\n".encode()


def _commented(events: list[wire.Event], *, comments: bool, done: bool) -> list[wire.Event]:
    if comments:
        events = [wire.Event(event.at_s, b": keepalive\n\n" + event.data) for event in events]
    if done and events:
        events[-1] = wire.Event(events[-1].at_s, events[-1].data + b"data: [DONE]\n\n")
    return events


async def _send(call: Call, job: Job, events: list[wire.Event], partials: int) -> None:
    if call.fault(["html_in_200", "error_in_200"]):
        fault = call.fault(["error_in_200"])
        await call.wait_until(events[-1].at_s)
        _bill(call, job, partials)
        await wire.send_body(call, JSON, json.dumps(openai_faults.in_200(fault) if fault else {}).encode())
        return
    await wire.send_events(call, EVENTS, events, lambda: _bill(call, job, partials))
