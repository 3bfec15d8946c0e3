"""Floods of frames, each for a second or until the gate ends the connection.

Prints a line of JSON for each: its name, how many bytes were sent, and how the connection ended (null: it did not).
"""

import json, select, time
from speaker import *

FLOODS = []
END, PATH = END_STREAM | END_HEADERS, "/flood"


def flood(function):
    FLOODS.append(function)
    return function


def streams(c, piece, first=1, last=200_001):
    """Pieces for one stream after the other, many at once."""
    for start in range(first, last, 1000):
        yield b"".join(piece(stream) for stream in range(start, start + 1000, 2))


def again(frames, times=2000):
    while True:
        yield frames * times

# -- Streams that are opened and taken back ---------------------------------------------------------------------------

@flood
def requests_taken_back_at_once(c):
    block = c.block(request(PATH))
    return streams(c, lambda stream: frame(HEADERS, END, stream, block) + frame(RST_STREAM, 0, stream, u32(8)))

@flood
def requests_the_gate_must_take_back(c):
    block = c.block(request(PATH, "POST"))
    return streams(c, lambda stream: frame(HEADERS, END_HEADERS, stream, block) + frame(WINDOW_UPDATE, 0, stream, u32(0)))

@flood
def requests_that_are_malformed(c):
    block = c.block(request(PATH, more=[("connection", "close")]))
    return streams(c, lambda stream: frame(HEADERS, END, stream, block))

@flood
def more_requests_than_allowed(c):
    block = c.block(request("/patient/flood"))
    return streams(c, lambda stream: frame(HEADERS, END, stream, block))

# -- Heads ------------------------------------------------------------------------------------------------------------

@flood
def a_head_without_end(c):
    block = c.block(request(PATH))
    yield frame(HEADERS, END_STREAM, 1, block)
    yield from again(frame(CONTINUATION, 0, 1, c.block([("x-a", "b" * 100)])))

@flood
def a_head_of_empty_frames(c):
    yield frame(HEADERS, END_STREAM, 1, c.block(request(PATH)))
    yield from again(frame(CONTINUATION, 0, 1))

@flood
def heads_that_grow_a_thousandfold(c):
    # One entry of the table of 4,000 bytes, then 16,000 times itself at one byte each.
    block = c.block(request(PATH))
    yield frame(HEADERS, END, 1, block + b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000)
    yield from streams(c, lambda stream: frame(HEADERS, END, stream, block + b"\xbe" * 16000), first=3, last=2001)

# -- Frames that say nothing ------------------------------------------------------------------------------------------

@flood
def empty_data(c):
    c.ask(1, request("/sink", "POST"), END_HEADERS)
    return again(frame(DATA, 0, 1))

@flood
def data_of_one_byte(c):
    c.ask(1, request("/sink", "POST"), END_HEADERS)
    return again(frame(DATA, 0, 1, b"a"))

@flood
def settings(c):
    return again(frame(SETTINGS, 0, 0))

@flood
def settings_that_change_every_window(c):
    block = c.block(request("/patient/flood"))
    yield b"".join(frame(HEADERS, END, stream, block) for stream in range(1, 201, 2))
    yield from again(frame(SETTINGS, 0, 0, setting(4, 0)) + frame(SETTINGS, 0, 0, setting(4, 0x7FFFFFFF)))

@flood
def pings(c):
    return again(frame(PING, 0, 0, bytes(8)))

@flood
def priorities(c):
    return again(frame(PRIORITY, 0, 1, u32(0) + b"\x10"))

@flood
def windows_opened_by_one(c):
    return again(frame(WINDOW_UPDATE, 0, 0, u32(1)))

@flood
def frames_nobody_knows(c):
    return again(frame(0xF0, 0, 0, bytes(100)))

# -- Clients that do not read -----------------------------------------------------------------------------------------

def answers_nobody_reads(c):
    """Large answers to as many requests as allowed, and no window for any of them."""
    block = c.block(request("/bytes/4000000"))
    yield b"".join(frame(HEADERS, END, stream, block) for stream in range(1, 257, 2))
    yield from iter(lambda: time.sleep(0.05) or frame(PING, ACK, 0, bytes(8)), None)

@flood
def answers_without_a_window(c):
    return answers_nobody_reads(c)

@flood
def pings_whose_answers_nobody_reads(c):
    return again(frame(PING, 0, 0, bytes(8)))

SETTINGS_OF = {"answers_without_a_window": setting(4, 0)}
UNREAD = {"pings_whose_answers_nobody_reads"}
SECONDS = 1


def told_to_end(connection, data):
    """The code the connection is ended with in what was read, if it is."""
    connection.buffer += data
    while len(connection.buffer) >= 9 + int.from_bytes(connection.buffer[:3], "big"):
        kind, _, _, payload = connection.read()
        if kind == GOAWAY and payload[4:8] != u32(0):
            return CODES[int.from_bytes(payload[4:8], "big")]
    return None


def push(connection, frames, reads, until):
    """Sends frames as fast as they are taken, and reads meanwhile; how the connection ended, or None."""
    rest = memoryview(frames)
    while rest and time.monotonic() < until:
        try:
            rest = rest[connection.socket.send(rest[:16384]):]
        except ssl.SSLWantWriteError:
            select.select([connection.socket] if reads else [], [connection.socket], [], 0.1)
        try:
            data = connection.socket.recv(65536) if reads else None
        except ssl.SSLWantReadError:
            continue
        if data == b"":
            return "closed"
        if data and (code := told_to_end(connection, data)):
            return code
    return None


def run(function):
    name = function.__name__
    connection = Connection(settings=SETTINGS_OF.get(name, b""))
    ended, sent, started = None, 0, time.monotonic()
    frames_of_it = function(connection)
    connection.socket.setblocking(False)
    connection.acknowledges = False
    try:
        while not ended and time.monotonic() - started < SECONDS:
            frames = next(frames_of_it)
            ended = push(connection, frames, name not in UNREAD, started + SECONDS)
            sent += len(frames)
    except StopIteration:
        pass
    except OSError as error:
        ended = type(error).__name__
    line = {"flood": name, "sent": sent, "ended": ended, "after": round(time.monotonic() - started, 2)}
    print(json.dumps(line), flush=True)
    return connection


# Kept open to the end, to see what they cost together.
kept = [run(function) for function in FLOODS]
print("all", flush=True)
sys.stdin.read()
