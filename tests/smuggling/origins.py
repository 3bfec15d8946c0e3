"""Servers in Python. Each writes a line of JSON for every request its application is given."""

import asyncio
import hashlib
import json
import os
import ssl
import sys

KIND, ADDRESS, PORT, IDENTITY, LOG = sys.argv[1:]
log = open(LOG, "a", buffering=1)


def note(method, target, host, body, headers=None):
    line = {"method": method, "target": target, "host": host, "length": len(body),
            "sha256": hashlib.sha256(body).hexdigest(), "headers": headers}
    log.write(json.dumps(line) + "\n")


def latin(pairs):
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in pairs]


def context():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(IDENTITY)
    tls.set_alpn_protocols(["http/1.1"])
    return tls


async def asgi(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    host = b"".join(value for name, value in scope["headers"] if name == b"host")
    note(scope["method"], target.decode("latin-1"), host.decode("latin-1"), body, latin(scope["headers"]))
    await send({"type": "http.response.start", "status": 203, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"seen"})


def uvicorn():
    import uvicorn
    uvicorn.run(asgi, host=ADDRESS, port=int(PORT), ssl_certfile=IDENTITY, ssl_keyfile=IDENTITY, http="h11",
                lifespan="off", log_level="warning", timeout_keep_alive=60)


def hypercorn():
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    config = Config()
    config.bind, config.certfile, config.keyfile = [f"{ADDRESS}:{PORT}"], IDENTITY, IDENTITY
    asyncio.run(serve(asgi, config))


def gunicorn():
    from gunicorn.app.base import BaseApplication

    def wsgi(environ, start_response):
        body = environ["wsgi.input"].read()
        note(environ["REQUEST_METHOD"], environ["RAW_URI"], environ.get("HTTP_HOST", ""), body)
        start_response("203 Seen", [("Content-Length", "4")])
        return [b"seen"]

    class Application(BaseApplication):
        def load_config(self):
            options = {"bind": f"{ADDRESS}:{PORT}", "certfile": IDENTITY, "keyfile": IDENTITY, "keepalive": 60,
                       "worker_class": "gthread", "threads": 8, "worker_tmp_dir": os.path.dirname(LOG),
                       "control_socket_disable": True}
            for name, value in options.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self):
            return wsgi

    sys.argv = sys.argv[:1]
    Application().run()


def aiohttp():
    from aiohttp import web

    async def seen(request):
        body = await request.read()
        note(request.method, request.raw_path, request.headers.get("host", ""), body, latin(request.raw_headers))
        return web.Response(status=203, text="seen")

    async def main():
        loop = asyncio.get_running_loop()
        server = web.Server(seen, keepalive_timeout=60)
        await (await loop.create_server(server, ADDRESS, int(PORT), ssl=context())).serve_forever()

    asyncio.run(main())


def standard():
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __getattr__(self, name):
            if not name.startswith("do_"):
                raise AttributeError(name)
            return self.seen

        def seen(self):
            try:
                body = self.chunks() if "transfer-encoding" in self.headers else self.counted()
            except (EOFError, ValueError):
                return
            # `path` is not what was asked for: slashes at its beginning are taken out.
            note(self.command, self.requestline.split(" ")[1], self.headers.get("host", ""), body)
            self.send_response(203)
            self.send_header("Content-Length", "0" if self.command == "HEAD" else "4")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"seen")

        def counted(self):
            return self.exactly(int(self.headers.get("content-length", 0)))

        def exactly(self, size):
            body = self.rfile.read(size)
            if len(body) < size:
                raise EOFError
            return body

        def chunks(self):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.exactly(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self):
            # The handshake belongs to the connection's own thread.
            socket, peer = super().get_request()
            return tls.wrap_socket(socket, server_side=True, do_handshake_on_connect=False), peer

    tls = context()
    Server((ADDRESS, int(PORT)), Handler).serve_forever()


{"uvicorn": uvicorn, "hypercorn": hypercorn, "gunicorn": gunicorn, "aiohttp": aiohttp, "http.server": standard}[KIND]()
