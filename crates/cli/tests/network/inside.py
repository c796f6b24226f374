"""What programs in a sandbox do; it stands before each script."""

import json, os, socket, ssl, sys, time


def line(host, port=7000):
    """What is said at a port, on a blocking socket without anything set on it."""
    try:
        own = socket.socket()
        own.connect((host, port))
        return own.makefile().readline().strip() or "refused"
    except OSError:
        return "refused"


def ask(own, host, *headers):
    lines = [f"GET / HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]
    own.sendall("\r\n".join(lines).encode())
    answer = own.makefile("rb").read()
    if not answer.startswith(b"HTTP/1.1 200"):
        return "refused"
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])


def http(at, host=None, *headers):
    try:
        own = socket.create_connection((at, 80), 20)
        return ask(own, host or at, *headers)
    except OSError:
        return "refused"


def https(at, host=None, *headers, trusted=False):
    """With `trusted`, the server's certificate is one of the sandbox's own authority."""
    context = ssl.create_default_context()
    if not trusted:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        own = socket.create_connection((at, 443), 20)
        own = context.wrap_socket(own, server_hostname=host or at)
        return ask(own, host or at, *headers)
    except OSError:
        return "refused"


def udp(host, port=7000):
    try:
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        own.connect((host, port))
        own.send(b"x")
        own.settimeout(0.5)
        return own.recv(10)
    except OSError as error:
        return "refused"


def name(text):
    try:
        return socket.gethostbyname(text)
    except OSError:
        return "unknown"


def show(*results):
    print(json.dumps(results))
