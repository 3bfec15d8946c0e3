"""Clients that take all the time there is. Each prints what it was told last, and when."""

import socket, ssl, sys, time

HOST = "crm.acme.internal"


def connect(encrypted=True, host=HOST):
    raw = socket.create_connection((host, 443 if encrypted else 80), 10)
    raw.settimeout(30)
    return ssl.create_default_context().wrap_socket(raw, server_hostname=host) if encrypted else raw


def told(connection):
    """The first line of what comes, or how the connection ended."""
    try:
        return connection.recv(4096).split(b"\r\n")[0].decode() or "closed"
    except OSError as error:
        return type(error).__name__


def dripping(connection, text, pause=0.2):
    """Says a text letter by letter until something comes back."""
    connection.settimeout(pause)
    for letter in text:
        connection.sendall(bytes([letter]))
        try:
            return connection.recv(4096).split(b"\r\n")[0].decode() or "closed"
        except TimeoutError:
            pass
    return "nothing"


def head(method="GET", path="/slow", more=""):
    return f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{more}".encode()


def a_head_that_never_ends():
    return dripping(connect(), head() + b"X-A: b\r\n" * 100)


def a_head_that_never_ends_in_plain_text():
    return dripping(connect(encrypted=False), head() + b"X-A: b\r\n" * 100)


def a_body_that_stops():
    connection = connect()
    connection.sendall(head("DELETE", more="Content-Length: 100\r\n\r\n") + b"abc")
    return told(connection)


def a_handshake_that_stops():
    connection = connect(encrypted=False)
    tls = socket.create_connection((HOST, 443), 10)
    tls.settimeout(30)
    tls.sendall(b"\x16\x03\x01\x02\x00\x01")
    connection.close()
    return told(tls)


def a_connection_without_a_request():
    return told(connect())


def fast_and_served():
    connection = connect()
    connection.sendall(head() + b"\r\n")
    return told(connection)


def many_connections_that_say_nothing():
    """As many as the agent may have and some more, kept until the input ends."""
    kept = []
    for _ in range(60):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex((HOST, 443))
        kept.append(connection)
    print("kept", flush=True)
    sys.stdin.read()
    return "over"


def many_requests_that_wait():
    """More requests than the agent may have under way, on connections of their own; what the last one is told."""
    kept = []
    for number in range(8):
        connection = connect()
        connection.sendall(head(path=f"/patient/{number}") + b"\r\n")
        kept.append(connection)
    print("kept", flush=True)
    sys.stdin.read()
    return ", ".join(told(connection) for connection in kept)


def a_pipeline_whose_answers_nobody_reads():
    """Asks for long answers until nothing more is taken."""
    connection = connect()
    connection.settimeout(2)
    requests = (head(path="/bytes/1000000") + b"\r\n") * 200
    asked = 0
    try:
        while asked < 400_000:
            connection.sendall(requests)
            asked += 200
    except TimeoutError:
        pass
    print("kept", flush=True)
    sys.stdin.read()
    return "taken" if asked == 400_000 else "held back"


def a_body_in_chunks_of_a_byte():
    connection = connect()
    connection.sendall(head("POST", "/crumbs", "Transfer-Encoding: chunked\r\n\r\n"))
    for _ in range(100):
        connection.sendall(b"1\r\na\r\n" * 1000)
    connection.sendall(b"0\r\n\r\n")
    return told(connection)


print(globals()[sys.argv[1]](), flush=True)
