"""gRPC as agents speak it: `serve ADDRESS IDENTITY` answers calls of every kind, `call KIND [WORDS]` makes one through
grpcio and tells what came of it, as JSON."""

import json
import sys
from concurrent import futures

import grpc

SERVICE = "acme.Orders"


def finish(context, said):
    context.set_trailing_metadata((("x-said", said), ("x-proof-bin", bytes(range(256)))))
    if said.startswith("bad"):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not so: naïve ☃")


def unary(request, context):
    print(f"unary {request.decode()}", flush=True)
    context.send_initial_metadata((("x-first", "yes"),))
    finish(context, request.decode())
    return b"done " + request


def client_streaming(requests, context):
    said = b",".join(requests)
    finish(context, said.decode())
    return b"heard " + said


def server_streaming(request, context):
    for number in range(3):
        yield b"%d %s" % (number, request)
    finish(context, request.decode())


def bidi(requests, context):
    for request in requests:
        yield b"echo " + request
    finish(context, "all")


def serve(address, identity):
    # Without a way to read and write messages they are bytes.
    handlers = {
        "Get": grpc.unary_unary_rpc_method_handler(unary),
        "Delete": grpc.unary_unary_rpc_method_handler(unary),
        "Drop": grpc.unary_unary_rpc_method_handler(unary),
        "DropMany": grpc.stream_unary_rpc_method_handler(client_streaming),
        "Upload": grpc.stream_unary_rpc_method_handler(client_streaming),
        "List": grpc.unary_stream_rpc_method_handler(server_streaming),
        "Chat": grpc.stream_stream_rpc_method_handler(bidi),
    }
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    pem = open(identity, "rb").read()
    server.add_secure_port(address, grpc.ssl_server_credentials(((pem, pem),)))
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


def alternate(call, words, queue):
    """Says a word only when the one before was answered."""
    answers = []
    for word in words:
        queue.append(word.encode())
        answers.append(next(call).decode())
    queue.append(None)
    answers += [answer.decode() for answer in call]
    return answers


class Queue:
    """What is put in comes out, as long as the other side listens; `None` ends it."""

    def __init__(self):
        import queue

        self.items = queue.Queue()

    def append(self, item):
        self.items.put(item)

    def __iter__(self):
        return iter(self.items.get, None)


def call(kind, words):
    channel = grpc.secure_channel("crm.acme.internal:8443", grpc.ssl_channel_credentials())
    path, many = f"/{SERVICE}/{kind}", [word.encode() for word in words]
    told = {}
    try:
        if kind in ("Upload", "DropMany"):
            answer, made = channel.stream_unary(path).with_call(iter(many), timeout=20)
            told["answers"] = [answer.decode()]
        elif kind == "List":
            made = channel.unary_stream(path)(many[0], timeout=20)
            told["answers"] = [answer.decode() for answer in made]
        elif kind == "Chat":
            queue = Queue()
            made = channel.stream_stream(path)(iter(queue), timeout=20)
            told["answers"] = alternate(made, words, queue)
        else:
            answer, made = channel.unary_unary(path).with_call(many[0], timeout=20)
            told["answers"] = [answer.decode()]
    except grpc.RpcError as error:
        made = error
    trailers = {key: value for key, value in made.trailing_metadata() or ()}
    told |= {"code": made.code().name, "details": made.details(), "said": trailers.get("x-said")}
    told["proof"] = trailers.get("x-proof-bin") == bytes(range(256))
    told["decision"] = trailers.get("shield-decision")
    told["first"] = dict(made.initial_metadata() or ()).get("x-first")
    print(json.dumps(told))


if sys.argv[1] == "serve":
    serve(*sys.argv[2:])
else:
    call(sys.argv[2], sys.argv[3:])
