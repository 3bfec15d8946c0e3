"""Cases of RFC 9113 and RFC 7541: what is well formed is served, what is not is refused in the way the protocol asks.

Prints a line of JSON for each case: its name, what was expected, what came.
"""

import json
from hpack import Decoder, HeaderTuple
from speaker import *

CASES = []


def case(expected, preface=PREFACE, settings=b""):
    """`expected` are the outcomes that are right: `200` and other statuses, a name of CODES for the whole connection, the
    same after `reset:` for the stream. Where the connection may be ended with a code, it may be closed without one, or
    ended with the code for everything that has none of its own."""
    def add(function):
        CASES.append((function.__name__, expected.split(), preface, settings, function))
        return function
    return add


def outcome(connection, stream):
    """What became of a stream, or of the connection."""
    decoder = Decoder()
    try:
        while True:
            kind, flags, number, payload = connection.read()
            if kind == GOAWAY and payload[4:8] != u32(0):
                return CODES[int.from_bytes(payload[4:8], "big")]
            if kind == RST_STREAM and number == stream:
                return "reset:" + CODES[int.from_bytes(payload[:4], "big")]
            if kind == HEADERS:
                status = dict(decoder.decode(payload))[":status"]
                if number == stream:
                    return status
    except (EOFError, ConnectionError, ssl.SSLError):
        return "closed"
    except TimeoutError:
        return "nothing"


def fine(name):
    return f"/fine/{name}"


def bad(name):
    return f"/refused/{name}"


# -- What is served ---------------------------------------------------------------------------------------------------

@case("200")
def a_request_in_one_frame(c):
    c.ask(1, request(fine("one-frame")))

@case("200")
def a_head_in_three_frames(c):
    block = c.block(request(fine("three-frames")))
    c.send(frame(HEADERS, END_STREAM, 1, block[:1]), frame(CONTINUATION, 0, 1, block[1:9]), frame(CONTINUATION, END_HEADERS, 1, block[9:]))

@case("200")
def a_padded_head_with_a_priority(c):
    block = b"\x03" + u32(0) + b"\x0f" + c.block(request(fine("padded"))) + bytes(3)
    c.send(frame(HEADERS, END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY, 1, block))

@case("200")
def a_body_in_padded_and_empty_frames(c):
    c.ask(1, request(fine("body"), "POST", more=[("content-length", "6")]), END_HEADERS)
    c.send(frame(DATA, PADDED, 1, b"\x02abc\0\0"), frame(DATA, 0, 1), frame(DATA, END_STREAM, 1, b"def"))

@case("200")
def cookies_in_pieces(c):
    c.ask(1, request(fine("cookies"), more=[("cookie", "a=b"), ("cookie", "c=d")]))

@case("200")
def frames_and_settings_nobody_knows(c):
    c.send(frame(0xF0, 0xFF, 0, b"anything"), frame(0xF1, 0, 1, b""), frame(SETTINGS, 0, 0, setting(0xFF00, 7)))
    c.ask(1, request(fine("unknown")))

@case("200")
def flags_and_bits_that_mean_nothing(c):
    c.send(frame(PING, 0xFE, 0, bytes(8)))
    c.ask(1 | 0x80000000, request(fine("flags")), END_STREAM | END_HEADERS | 0xD0)

@case("200")
def a_priority_for_a_stream_nobody_opened(c):
    c.send(frame(PRIORITY, 0, 7, u32(0) + b"\x10"))
    c.ask(1, request(fine("priority")))

@case("200")
def an_answer_to_a_ping_nobody_sent(c):
    c.send(frame(PING, ACK, 0, bytes(8)))
    c.ask(1, request(fine("ping")))

@case("200")
def literals_of_every_kind_and_huffman_code(c):
    block = c.encoder.encode([HeaderTuple(*field) for field in request(fine("literals"))], huffman=True)
    more = b"\x40\x01a\x01b" + b"\x00\x01c\x01d" + b"\x10\x01e\x01f" + b"\xbe"
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, block + more))

@case("200")
def a_table_made_smaller_first_of_all(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x20" + c.block(request(fine("table")))))

@case("200", settings=setting(4, 0))
def a_window_opened_later(c):
    c.ask(1, request(fine("window")))
    c.send(frame(WINDOW_UPDATE, 0, 1, u32(100)), frame(SETTINGS, 0, 0, setting(4, 65535)))

@case("200")
def a_window_made_negative(c):
    c.send(frame(SETTINGS, 0, 0, setting(4, 100)))
    c.ask(1, request(fine("negative")))
    c.send(frame(SETTINGS, 0, 0, setting(4, 1)), frame(SETTINGS, 0, 0, setting(4, 65535)))

@case("200")
def te_trailers(c):
    c.ask(1, request(fine("te"), more=[("te", "trailers")]))

# -- The preface ------------------------------------------------------------------------------------------------------

@case("PROTOCOL_ERROR", preface=b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n")
def another_preface(c):
    pass

@case("PROTOCOL_ERROR", preface=PREFACE[:-1] + b"X")
def a_preface_with_another_end(c):
    c.send(frame(SETTINGS, 0, 0))

@case("PROTOCOL_ERROR", preface=b"GET /refused/http1 HTTP/1.1\r\nHost: crm.acme.internal\r\n\r\n")
def http1_where_http2_was_agreed(c):
    pass

# -- Sizes ------------------------------------------------------------------------------------------------------------

@case("FRAME_SIZE_ERROR reset:FRAME_SIZE_ERROR")
def data_longer_than_a_frame_may_be(c):
    c.ask(1, request(bad("long-data"), "POST"), END_HEADERS)
    c.send(frame(DATA, END_STREAM, 1, bytes(16385)))

@case("FRAME_SIZE_ERROR")
def a_head_longer_than_a_frame_may_be(c):
    fields = request(bad("long-head"), more=[("x-a", "a" * 17000)])
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, c.block(fields)))

@case("FRAME_SIZE_ERROR")
def a_reset_of_three_bytes(c):
    c.ask(1, request(bad("reset-3"), "POST"), END_HEADERS)
    c.send(frame(RST_STREAM, 0, 1, bytes(3)))

@case("FRAME_SIZE_ERROR")
def settings_of_five_bytes(c):
    c.send(frame(SETTINGS, 0, 0, bytes(5)))

@case("FRAME_SIZE_ERROR")
def an_acknowledgement_with_settings(c):
    c.send(frame(SETTINGS, ACK, 0, setting(1, 0)))

@case("FRAME_SIZE_ERROR")
def a_ping_of_six_bytes(c):
    c.send(frame(PING, 0, 0, bytes(6)))

@case("FRAME_SIZE_ERROR")
def a_window_update_of_three_bytes(c):
    c.send(frame(WINDOW_UPDATE, 0, 0, bytes(3)))

@case("FRAME_SIZE_ERROR reset:FRAME_SIZE_ERROR")
def a_priority_of_four_bytes(c):
    c.ask(1, request(bad("priority-4"), "POST"), END_HEADERS)
    c.send(frame(PRIORITY, 0, 1, bytes(4)))

# -- Streams ----------------------------------------------------------------------------------------------------------

@case("PROTOCOL_ERROR")
def data_before_a_head(c):
    c.send(frame(DATA, END_STREAM, 1, b"abc"))

@case("PROTOCOL_ERROR")
def a_reset_before_a_head(c):
    c.send(frame(RST_STREAM, 0, 1, u32(8)))

@case("PROTOCOL_ERROR")
def a_window_update_before_a_head(c):
    c.send(frame(WINDOW_UPDATE, 0, 1, u32(1)))

@case("PROTOCOL_ERROR")
def a_continuation_before_a_head(c):
    c.send(frame(CONTINUATION, END_HEADERS, 1, c.block(request(bad("continuation")))))

@case("STREAM_CLOSED reset:STREAM_CLOSED")
def data_after_the_end(c):
    c.ask(1, request("/patient/slow"))
    c.send(frame(DATA, END_STREAM, 1, b"abc"))

@case("STREAM_CLOSED reset:STREAM_CLOSED PROTOCOL_ERROR reset:PROTOCOL_ERROR")
def a_head_after_the_end(c):
    c.ask(1, request("/patient/slow"))
    c.ask(1, request(bad("after-end")))

@case("STREAM_CLOSED reset:STREAM_CLOSED PROTOCOL_ERROR")
def a_continuation_after_the_end(c):
    c.ask(1, request("/patient/slow"))
    c.send(frame(CONTINUATION, END_HEADERS, 1, c.block(request(bad("after-end")))))

@case("STREAM_CLOSED reset:STREAM_CLOSED PROTOCOL_ERROR")
def a_head_after_a_reset(c):
    c.ask(1, request(bad("after-reset"), "POST"), END_HEADERS)
    c.send(frame(RST_STREAM, 0, 1, u32(8)))
    c.ask(1, request(bad("after-reset")))

@case("PROTOCOL_ERROR")
def a_stream_of_an_even_number(c):
    c.ask(2, request(bad("even")))

@case("PROTOCOL_ERROR STREAM_CLOSED reset:STREAM_CLOSED")
def a_stream_below_the_last_one(c):
    c.ask(5, request("/patient/slow"))
    c.ask(3, request(bad("below")))
    return 3

@case("PROTOCOL_ERROR")
def a_head_for_the_whole_connection(c):
    c.ask(0, request(bad("stream-0")))

@case("PROTOCOL_ERROR")
def data_for_the_whole_connection(c):
    c.send(frame(DATA, END_STREAM, 0, b"abc"))

@case("PROTOCOL_ERROR")
def a_priority_for_the_whole_connection(c):
    c.send(frame(PRIORITY, 0, 0, u32(0) + b"\x10"))

@case("PROTOCOL_ERROR")
def a_reset_of_the_whole_connection(c):
    c.send(frame(RST_STREAM, 0, 0, u32(8)))

@case("PROTOCOL_ERROR")
def settings_for_a_stream(c):
    c.send(frame(SETTINGS, 0, 1, setting(3, 1)))

@case("PROTOCOL_ERROR")
def a_ping_for_a_stream(c):
    c.send(frame(PING, 0, 1, bytes(8)))

@case("PROTOCOL_ERROR")
def a_farewell_for_a_stream(c):
    c.send(frame(GOAWAY, 0, 1, bytes(8)))

@case("PROTOCOL_ERROR")
def a_push_from_the_client(c):
    c.send(frame(PUSH_PROMISE, END_HEADERS, 1, u32(2) + c.block(request(bad("push")))))

@case("PROTOCOL_ERROR reset:PROTOCOL_ERROR 200")
def a_stream_that_depends_on_itself(c):
    # RFC 9113 did away with priorities: it may be ignored, too.
    c.send(frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, u32(1) + b"\x10" + c.block(request(fine("itself")))))

@case("reset:REFUSED_STREAM reset:PROTOCOL_ERROR REFUSED_STREAM PROTOCOL_ERROR")
def more_streams_than_allowed(c):
    for stream in range(1, 261, 2):
        c.ask(stream, request("/patient/slow"))
    return 259

# -- Heads and what interrupts them -----------------------------------------------------------------------------------

def interrupted(c, name, interruption):
    block = c.block(request(bad(name)))
    c.send(frame(HEADERS, END_STREAM, 1, block[:5]), interruption, frame(CONTINUATION, END_HEADERS, 1, block[5:]))

@case("PROTOCOL_ERROR")
def a_head_interrupted_by_a_priority(c):
    interrupted(c, "by-priority", frame(PRIORITY, 0, 1, u32(0) + b"\x10"))

@case("PROTOCOL_ERROR")
def a_head_interrupted_by_another_head(c):
    interrupted(c, "by-head", frame(HEADERS, END_STREAM | END_HEADERS, 3, c.block(request(bad("by-head-3")))))

@case("PROTOCOL_ERROR")
def a_head_interrupted_by_data(c):
    interrupted(c, "by-data", frame(DATA, 0, 1, b"abc"))

@case("PROTOCOL_ERROR")
def a_head_interrupted_by_a_frame_nobody_knows(c):
    interrupted(c, "by-unknown", frame(0xF0, 0, 0, b""))

@case("PROTOCOL_ERROR")
def a_head_interrupted_by_a_ping(c):
    interrupted(c, "by-ping", frame(PING, 0, 0, bytes(8)))

@case("PROTOCOL_ERROR")
def a_head_continued_on_another_stream(c):
    block = c.block(request(bad("elsewhere")))
    c.send(frame(HEADERS, END_STREAM, 1, block[:5]), frame(CONTINUATION, END_HEADERS, 3, block[5:]))

@case("PROTOCOL_ERROR")
def a_continuation_after_the_heads_end(c):
    c.ask(1, request(bad("continued"), "POST"), END_HEADERS)
    c.send(frame(CONTINUATION, END_HEADERS, 1, c.block([("x-a", "b")])))

@case("PROTOCOL_ERROR")
def data_that_is_all_padding(c):
    c.ask(1, request(bad("padding"), "POST"), END_HEADERS)
    c.send(frame(DATA, END_STREAM | PADDED, 1, b"\xffabc"))

@case("PROTOCOL_ERROR")
def a_head_that_is_all_padding(c):
    c.send(frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\xff" + c.block(request(bad("padding")))))

@case("reset:PROTOCOL_ERROR PROTOCOL_ERROR 400")
def a_second_head_that_is_not_the_end(c):
    c.ask(1, request(bad("second"), "POST"), END_HEADERS)
    c.ask(1, [("x-a", "b")], END_HEADERS)
    c.send(frame(DATA, END_STREAM, 1, b"abc"))

@case("400 reset:PROTOCOL_ERROR")
def trailers(c):
    c.ask(1, request(bad("trailers"), "POST"), END_HEADERS)
    c.ask(1, [("x-a", "b")])

@case("400 reset:PROTOCOL_ERROR")
def a_pseudo_field_among_trailers(c):
    c.ask(1, request(bad("pseudo-trailers"), "POST"), END_HEADERS)
    c.ask(1, [(":method", "DELETE")])

# -- Settings and windows ---------------------------------------------------------------------------------------------

@case("PROTOCOL_ERROR")
def push_allowed_twice(c):
    c.send(frame(SETTINGS, 0, 0, setting(2, 2)))

@case("FLOW_CONTROL_ERROR")
def a_first_window_too_large(c):
    c.send(frame(SETTINGS, 0, 0, setting(4, 1 << 31)))

@case("PROTOCOL_ERROR")
def a_frame_size_too_small(c):
    c.send(frame(SETTINGS, 0, 0, setting(5, 16383)))

@case("PROTOCOL_ERROR")
def a_frame_size_too_large(c):
    c.send(frame(SETTINGS, 0, 0, setting(5, 1 << 24)))

@case("PROTOCOL_ERROR")
def a_connections_window_opened_by_nothing(c):
    c.send(frame(WINDOW_UPDATE, 0, 0, u32(0)))

@case("PROTOCOL_ERROR reset:PROTOCOL_ERROR")
def a_streams_window_opened_by_nothing(c):
    c.ask(1, request(bad("window-0"), "POST"), END_HEADERS)
    c.send(frame(WINDOW_UPDATE, 0, 1, u32(0)))

@case("FLOW_CONTROL_ERROR")
def a_connections_window_opened_too_far(c):
    c.send(frame(WINDOW_UPDATE, 0, 0, u32(0x7FFFFFFF)))

@case("FLOW_CONTROL_ERROR reset:FLOW_CONTROL_ERROR")
def a_streams_window_opened_too_far(c):
    c.ask(1, request(bad("window-far"), "POST"), END_HEADERS)
    c.send(frame(WINDOW_UPDATE, 0, 1, u32(0x7FFFFFFF)))

@case("FLOW_CONTROL_ERROR reset:FLOW_CONTROL_ERROR")
def more_data_than_the_window_allows(c):
    c.ask(1, request(bad("overrun"), "POST", more=[("expect-slow", "1")]), END_HEADERS)
    try:
        c.send(*[frame(DATA, 0, 1, bytes(16384))] * 2048)
    except OSError:
        pass

# -- What a request may say -------------------------------------------------------------------------------------------

def malformed(name, **changed):
    def send(c):
        c.ask(1, request(**({"path": bad(name)} | changed)))
    send.__name__ = name
    case("400 reset:PROTOCOL_ERROR PROTOCOL_ERROR")(send)

malformed("an_upper_case_name", more=[("X-A", "b")])
malformed("a_pseudo_field_nobody_knows", more=[(":test", "b")])
malformed("a_status_in_a_request", more=[(":status", "200")])
malformed("a_field_that_belongs_to_the_connection", more=[("connection", "keep-alive")])
malformed("a_keep_alive", more=[("keep-alive", "5")])
malformed("a_proxy_connection", more=[("proxy-connection", "keep-alive")])
malformed("a_transfer_encoding", more=[("transfer-encoding", "chunked")])
malformed("an_upgrade", more=[("upgrade", "h2c")])
malformed("a_te_that_is_not_trailers", more=[("te", "trailers, deflate")])
malformed("an_empty_path", path="")
malformed("no_path", path=None)
malformed("no_method", method=None)
malformed("no_scheme", scheme=None)
malformed("two_methods", more=[(":method", "DELETE")])
malformed("two_schemes", more=[(":scheme", "http")])
malformed("two_paths", more=[(":path", "/refused/other")])
malformed("two_authorities", more=[(":authority", "other.acme.internal")])
malformed("a_method_after_a_field", method=None, more=[("x-a", "b"), (":method", "GET")])
malformed("another_host", more=[("host", "other.acme.internal")])
malformed("a_line_end_in_a_value", more=[("x-a", "b\r\nx-c: d")])
malformed("a_nul_in_a_value", more=[("x-a", "b\0")])
malformed("a_line_end_in_a_name", more=[("x-a\r\nx-c", "d")])
malformed("a_colon_in_a_name", more=[("x-a: b", "d")])
malformed("a_space_in_a_name", more=[("x a", "d")])
malformed("an_empty_name", more=[("", "d")])
malformed("a_space_in_the_path", path="/refused/a b")
malformed("a_line_end_in_the_path", path="/refused/a HTTP/1.1\r\nx-a: b")
malformed("a_path_without_its_slash", path="refused/a")
malformed("a_path_that_is_a_url", path="https://other.acme.internal/refused/a")
malformed("a_space_in_the_method", method="GET /refused/a")
malformed("a_user_in_the_authority", authority="admin@crm.acme.internal")
malformed("an_authority_with_a_path", authority="crm.acme.internal/refused")
malformed("an_empty_authority", authority="")
malformed("another_scheme", scheme="ftp")
malformed("two_lengths", more=[("content-length", "0"), ("content-length", "1")])
malformed("a_length_that_is_no_number", more=[("content-length", "+0")])
malformed("a_length_without_its_body", more=[("content-length", "4")])
malformed("a_connect_with_a_path", method="CONNECT")

@case("400 reset:PROTOCOL_ERROR PROTOCOL_ERROR")
def a_body_shorter_than_its_length(c):
    c.ask(1, request(bad("shorter"), "POST", more=[("content-length", "4")]), END_HEADERS)
    c.send(frame(DATA, 0, 1, b"a"), frame(DATA, END_STREAM, 1, b"b"))

@case("400 reset:PROTOCOL_ERROR PROTOCOL_ERROR")
def a_body_longer_than_its_length(c):
    c.ask(1, request(bad("longer"), "POST", more=[("content-length", "1")]), END_HEADERS)
    c.send(frame(DATA, END_STREAM, 1, b"ab"))

@case("501")
def a_connect(c):
    c.ask(1, request(None, "CONNECT", scheme=None))

@case("200")
def a_fragment_after_the_path(c):
    # It says nothing to a server, and is left out of what is judged, shown and sent.
    c.ask(1, request(fine("fragment") + "#b"))

@case("421")
def a_host_of_another_connection(c):
    c.ask(1, request(bad("coalesced"), authority="api.acme.internal"))

@case("431")
def a_head_longer_than_allowed(c):
    block = c.block(request(bad("long"), more=[(f"x-{n}", "a" * 8000) for n in range(10)]))
    pieces = [block[at:at + 16000] for at in range(0, len(block), 16000)]
    c.send(frame(HEADERS, END_STREAM, 1, pieces[0]), *[frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:-1]],
           frame(CONTINUATION, END_HEADERS, 1, pieces[-1]))

@case("431 400")
def more_fields_than_allowed(c):
    c.ask(1, request(bad("many"), more=[(f"x-{n}", "a") for n in range(250)]))

# -- HPACK ------------------------------------------------------------------------------------------------------------

def uncompressible(name, after=b"", before=b""):
    def send(c):
        c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, before + c.block(request(bad(name))) + after))
    send.__name__ = name
    case("COMPRESSION_ERROR")(send)

uncompressible("an_index_of_nothing", b"\x80")
uncompressible("an_index_beyond_the_table", b"\xc6")
uncompressible("a_name_of_an_index_beyond_the_table", b"\x7f\x45\x01a")
uncompressible("a_table_made_smaller_in_the_middle", b"\x20")
uncompressible("a_table_larger_than_allowed", before=b"\x3f\xe1\xff\x03")
uncompressible("an_integer_without_end", b"\x7f" + b"\xff" * 12)
uncompressible("a_value_that_is_cut", b"\x40\x01a\x05bc")
uncompressible("a_huffman_code_padded_with_zeros", b"\x40\x01a\x81\x18")
uncompressible("a_huffman_code_padded_too_far", b"\x40\x01a\x82\x1f\xff")
uncompressible("a_huffman_code_with_the_end_in_it", b"\x40\x01a\x84\xff\xff\xff\xff")

for name, expected, preface, settings, function in CASES:
    connection = Connection(preface=preface, settings=settings)
    try:
        stream = function(connection) or 1
    except OSError:
        stream = 1
    came = outcome(connection, stream)
    ended = came in ("closed", "PROTOCOL_ERROR") and any(word in CODES for word in expected)
    right = came in expected or ended
    print(json.dumps({"case": name, "expected": expected, "came": came, "right": right}), flush=True)
    connection.socket.close()
