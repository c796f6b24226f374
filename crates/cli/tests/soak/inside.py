"""The load of the soak test, inside: programs that connect, some of which are killed meanwhile.

    inside.py CONFIG                       starts the others, kills one now and then, waits at the end
    inside.py CONFIG member|stranger END   connects until then, and says a line for each connection;
                                           without an END, once in each way
"""
import http.client
import json
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time

with open(sys.argv[1]) as file:
    config = json.load(file)
HOST, GREETING = config['host'], config['greeting'].encode()
# A program that waits for longer has found a bug.
PATIENCE = 20


def plain():
    """A socket that blocks, with its own patience: Python's timeouts would make it one that doesn't."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('ll', PATIENCE, 0))
    return s


def greeted(s):
    with s.makefile('rb') as said:
        line = said.readline().strip()
    return 'reached' if line == GREETING else f'said {line!r}'


def transparent(port):
    with plain() as s:
        s.connect((HOST, port))
        return greeted(s)


def nonblocking(port):
    with socket.create_connection((HOST, port), PATIENCE) as s:
        return greeted(s)


def asked(port):
    """By CONNECT (RFC 9110, 9.3.6)."""
    with plain() as s:
        s.connect(('127.0.0.1', 1))
        s.sendall(f'CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n'.encode())
        with s.makefile('rb') as said:
            status = said.readline().split()[1]
            if status == b'403':
                return 'refused'
            while said.readline().strip():
                pass
            line = said.readline().strip()
        return 'reached' if (status, line) == (b'200', GREETING) else f'said {status} {line!r}'


def socks(port):
    """By SOCKS5 (RFC 1928)."""
    with plain() as s:
        s.connect(('127.0.0.1', 1))
        s.sendall(bytes([5, 1, 0]) + bytes([5, 1, 0, 1]) + socket.inet_aton(HOST) + struct.pack('>H', port))
        with s.makefile('rb') as said:
            said.read(2)
            code = said.read(10)[1]
            if code == 2:
                return 'refused'
            line = said.readline().strip()
        return 'reached' if (code, line) == (0, GREETING) else f'said {code} {line!r}'


def inspected(port, method='GET'):
    connection = http.client.HTTPSConnection(HOST, port, timeout=PATIENCE, context=ssl.create_default_context())
    try:
        # Two requests of one connection, which a refusal ends.
        wanted = 2 if method == 'GET' else 1
        statuses = []
        for _ in range(wanted):
            connection.request(method, '/any', b'x' if method == 'POST' else None)
            answer = connection.getresponse()
            statuses.append((answer.status, 'policy_denied' if b'policy_denied' in answer.read() else ''))
    finally:
        connection.close()
    if statuses == [(200, '')] * wanted:
        return 'reached'
    return 'refused' if statuses == [(403, 'policy_denied')] * wanted else f'said {statuses}'


def posted(port):
    return inspected(port, 'POST')


DIRECT, RELAYED, CLOSED, TLS = (config[name] for name in ('direct', 'relayed', 'closed', 'tls'))
# How, where to, how often.
KINDS = [
    (transparent, DIRECT, 30), (nonblocking, DIRECT, 10), (transparent, RELAYED, 15), (nonblocking, RELAYED, 10),
    (asked, RELAYED, 8), (asked, DIRECT, 4), (socks, RELAYED, 8), (socks, DIRECT, 4), (inspected, TLS, 6),
    (posted, TLS, 3), (transparent, CLOSED, 8), (nonblocking, CLOSED, 4), (asked, CLOSED, 4), (socks, CLOSED, 4),
]
REFUSED = (ConnectionResetError, ConnectionRefusedError, PermissionError, BrokenPipeError)


def expected(who, how, port):
    return 'reached' if who == 'member' and port != CLOSED and how is not posted else 'refused'


def attempt(who, how, port):
    try:
        found = how(port)
    except REFUSED:
        found = 'refused'
    except ssl.SSLError as error:
        # The other side of TLS was reset before it said anything.
        found = 'refused' if isinstance(error, ssl.SSLEOFError) else repr(error)
    except Exception as error:
        found = repr(error)
    # In one piece: others write there, too.
    sys.stdout.write(json.dumps([who, how.__name__, port, found, expected(who, how, port)]) + '\n')
    sys.stdout.flush()


def connect_until(who, end):
    each = config['programs'] / config['rate']
    weights = [weight for *_, weight in KINDS]
    due = time.monotonic()
    while due < end:
        how, port, _ = random.choices(KINDS, weights)[0]
        attempt(who, how, port)
        # What was missed on a busy machine is not made up for at once.
        due = max(due + each, time.monotonic() - 1)
        time.sleep(max(0, due - time.monotonic()))


def start(who, end):
    words = [config[who], __file__, sys.argv[1], who] + ([] if end is None else [str(end)])
    return subprocess.Popen(words, stdin=subprocess.DEVNULL)


def main():
    # This program is above all others: the policy names neither it nor what it was started by.
    for who in ('member', 'stranger'):
        start(who, None).wait()
    print('ready', flush=True)
    sys.stdin.readline()
    end = time.monotonic() + config['seconds']
    roles = ['stranger' if number % 3 == 2 else 'member' for number in range(config['programs'])]
    programs = [start(who, end) for who in roles]
    killed = 0
    while time.monotonic() < end - 1:
        time.sleep(random.uniform(0.1, 0.9))
        one = random.randrange(len(programs))
        programs[one].send_signal(signal.SIGKILL)
        killed += programs[one].wait() == -signal.SIGKILL
        programs[one] = start(roles[one], end)
    ended = [program.wait() for program in programs]
    print(json.dumps({'killed': killed, 'ended': ended}), flush=True)
    sys.stdin.readline()


if len(sys.argv) == 3:
    for kind in KINDS:
        attempt(sys.argv[2], *kind[:2])
elif len(sys.argv) == 4:
    connect_until(sys.argv[2], float(sys.argv[3]))
else:
    main()
