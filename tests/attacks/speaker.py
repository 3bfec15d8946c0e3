"""An HTTP/2 client that says exactly what it is told to, frame by frame. Prelude of the scripts beside it."""

import socket, ssl, struct, sys
from hpack import Encoder
from hyperframe.frame import Frame

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
         "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
         "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]
HOST = "crm.acme.internal"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def u32(number):
    return struct.pack(">I", number)


def setting(identifier, value):
    return struct.pack(">HI", identifier, value)


def request(path, method="GET", **changed):
    """The fields of a request; a value of None leaves a field out, and `more` comes after the others."""
    more = changed.pop("more", [])
    fields = {"method": method, "scheme": "https", "authority": HOST, "path": path} | changed
    return [(":" + name, value) for name, value in fields.items() if value is not None] + more


class Connection:
    """One connection, its preface and settings sent."""

    def __init__(self, host=HOST, preface=PREFACE, settings=b""):
        context = ssl.create_default_context()
        context.set_alpn_protocols(["h2"])
        self.socket = context.wrap_socket(socket.create_connection((host, 443), 10), server_hostname=host)
        self.socket.settimeout(10)
        assert self.socket.selected_alpn_protocol() == "h2", "the gate does not speak HTTP/2"
        self.encoder, self.buffer, self.acknowledges = Encoder(), b"", True
        self.send(preface + (frame(SETTINGS, 0, 0, settings) if preface == PREFACE else b""))

    def send(self, *frames):
        self.socket.sendall(b"".join(frames))

    def block(self, fields):
        # Never from the table: a block that is cut or dropped must not change what the next one says.
        return self.encoder.encode([(name, value, True) for name, value in fields], huffman=False)

    def ask(self, stream, fields, flags=END_STREAM | END_HEADERS):
        self.send(frame(HEADERS, flags, stream, self.block(fields)))

    def read(self):
        """The next frame: kind, flags, stream and payload."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            read = self.socket.recv(65536)
            if not read:
                raise EOFError
            self.buffer += read
        length = int.from_bytes(self.buffer[:3], "big")
        head, payload, self.buffer = self.buffer[:9], self.buffer[9:9 + length], self.buffer[9 + length:]
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF
        if kind == SETTINGS and not flags & ACK and self.acknowledges:
            self.send(frame(SETTINGS, ACK, 0))
        return kind, flags, stream, payload
