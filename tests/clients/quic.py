"""One request by a client that speaks QUIC: prints what became of it.

Usage: quic.py aioquic HOST | curl-h3 URL | curl-h3-only URL
"""

import asyncio
import sys


def with_aioquic(host):
    from aioquic.asyncio.client import connect
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.quic.configuration import QuicConfiguration

    refusals = asyncio.Queue()

    class Protocol(QuicConnectionProtocol):
        def error_received(self, error):
            refusals.put_nowait(error)

    async def handshake():
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"])
        async with connect(host, 443, configuration=configuration, create_protocol=Protocol):
            return "connected"

    async def first():
        outcomes = {asyncio.ensure_future(handshake()), asyncio.ensure_future(refusals.get())}
        done, _ = await asyncio.wait(outcomes, return_when=asyncio.FIRST_COMPLETED)
        return repr(done.pop().result())

    print(asyncio.run(first()), flush=True)


def with_curl(version, url):
    from curl_cffi import requests

    try:
        answer = requests.get(url, http_version=version, timeout=30)
        print(answer.status_code, {1: "HTTP/1.0", 2: "HTTP/1.1", 3: "HTTP/2", 30: "HTTP/3"}.get(answer.http_version))
    except requests.errors.RequestsError as error:
        print("error", error.code, error)


import time
started = time.monotonic()
client, target = sys.argv[1:]
if client == "aioquic":
    with_aioquic(target)
else:
    with_curl({"curl-h3": "v3", "curl-h3-only": "v3only"}[client], target)
print(round(time.monotonic() - started, 3))
