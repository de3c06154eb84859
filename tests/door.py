"""The console as a browser without scripts sees it, over HTTP alone."""

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2

from gateway import gateway

WEB, OPS = "pictor_web-key", "pictor_ops-key"
"""Keys of a caller and of an operator, for tests that configure them."""


@dataclass
class Door:
    """A browser without scripts, before one gateway."""

    client: httpx2.AsyncClient
    gateway: object

    async def token(self, path="/sign-in"):
        answer = await self.client.get(path)
        return re.search(r'"X-Form-Token": "([0-9a-f]+)"', answer.text)[1]

    async def sign_in(self, key, **more):
        self.client.cookies.clear()
        form = {"form_token": await self.token(), "key": key, **more}
        return await self.client.post("/sign-in", data=form)


@asynccontextmanager
async def door(**settings):
    async with gateway(**{"http_listen": "127.0.0.1:0"} | settings) as running:
        url = f"http://{running.app.http_address}"
        async with httpx2.AsyncClient(base_url=url) as client:
            yield Door(client, running)
