#!/usr/bin/python3 -IS
"""A CGI program: writes down in JSON the request its server gives it."""

import hashlib
import json
import os
import sys

body = sys.stdin.buffer.read()
line = {"method": os.environ["REQUEST_METHOD"], "target": os.environ["REQUEST_URI"], "host": os.environ["HTTP_HOST"],
        "length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
log = os.open(sys.argv[1] if len(sys.argv) > 1 else os.environ["SEEN_LOG"], os.O_WRONLY | os.O_APPEND)
os.write(log, json.dumps(line).encode() + b"\n")
sys.stdout.write("Status: 203 Seen\r\nContent-Type: text/plain\r\n\r\nseen")
