"""One request with one of Python's HTTP clients: prints the body, then the status on a line of its own.

Usage: client.py requests|httpx|urllib METHOD URL BODY
"""

import sys


def with_requests(method, url, body):
    import requests

    answer = requests.request(method, url, data=body)
    return answer.text, answer.status_code


def with_httpx(method, url, body):
    import httpx

    # Its default of five seconds would end before a person decides.
    answer = httpx.request(method, url, content=body, timeout=60)
    return answer.text, answer.status_code


def with_urllib(method, url, body):
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, data=body or None, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.read().decode(), answer.status
    except urllib.error.HTTPError as answer:
        return answer.read().decode(), answer.code


library, method, url, body = sys.argv[1:]
clients = {"requests": with_requests, "httpx": with_httpx, "urllib": with_urllib}
text, status = clients[library](method, url, body.encode())
print(f"{text}\n{status}")
