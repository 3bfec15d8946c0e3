"""Resolves each name with one of Python's resolvers: prints the first address, or `none`.

Usage: resolve.py libc|asyncio|c-ares NAME…
"""

import asyncio
import socket
import sys


def with_libc(name):
    return socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)[0][4][0]


def with_asyncio(name):
    async def resolve():
        loop = asyncio.get_running_loop()
        return (await loop.getaddrinfo(name, 443, type=socket.SOCK_STREAM))[0][4][0]

    return asyncio.run(resolve())


def with_c_ares(name):
    import pycares

    answers = []
    channel = pycares.Channel(timeout=2, tries=2)
    # The name has addresses of version 4 only.
    channel.getaddrinfo(
        name, 443, family=socket.AF_INET, callback=lambda found, error: answers.append((found, error))
    )
    channel.wait()
    channel.close()
    found, error = answers[0]
    if error is not None:
        raise OSError(pycares.errno.strerror(error))
    address = found.nodes[0].addr[0]
    return address.decode() if isinstance(address, bytes) else address


resolvers = {"libc": with_libc, "asyncio": with_asyncio, "c-ares": with_c_ares}
for name in sys.argv[2:]:
    try:
        print(resolvers[sys.argv[1]](name))
    except OSError as error:
        print("none", error, file=sys.stderr)
        print("none")
