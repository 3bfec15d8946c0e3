"""One request by a client that speaks QUIC: prints what became of it.

Usage: quic.py aioquic HOST | h3-only URL | h3-first URL
"""

import asyncio
import sys


def with_aioquic(host):
    from aioquic.asyncio.client import connect
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.quic.configuration import QuicConfiguration

    async def outcome():
        ended = asyncio.get_running_loop().create_future()

        class Protocol(QuicConnectionProtocol):
            # By itself the library does not look at what the socket reports.
            def error_received(self, error):
                if not ended.done():
                    ended.set_result(type(error).__name__)

        async def handshake():
            configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"])
            async with connect(host, 443, configuration=configuration, create_protocol=Protocol):
                ended.set_result("connected")

        trying = asyncio.ensure_future(handshake())
        told = await ended
        trying.cancel()
        await asyncio.gather(trying, return_exceptions=True)
        return told

    return asyncio.run(outcome())


def with_curl(version, url):
    from curl_cffi import CurlHttpVersion, requests

    try:
        answer = requests.get(url, http_version=version, timeout=30)
    except requests.exceptions.RequestException as error:
        return f"error {int(error.code)}"
    return f"{answer.status_code} {CurlHttpVersion(answer.http_version).name}"


client, target = sys.argv[1:]
versions = {"h3-only": "v3only", "h3-first": "v3"}
print(with_aioquic(target) if client == "aioquic" else with_curl(versions[client], target))
