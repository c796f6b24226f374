"""What stands for the Internet: DNS, HTTP, HTTPS and a line of text at port 7000, at all addresses of
a network namespace. Every name that is asked for is written down."""

import http.server, json, socket, socketserver, ssl, sys, threading

FOLDER, DNS = sys.argv[1], sys.argv[2]
NAMES = json.loads(sys.argv[3])
# Another view of the names, at this server only.
OTHER, OTHERS = sys.argv[4], json.loads(sys.argv[5])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({
            "at": self.connection.getsockname()[0],
            "host": self.headers.get("Host"),
            "keys": self.headers.get_all("X-Key"),
        }).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Web(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments):
        pass


class Secure(Web):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def finish_request(self, request, address):
        with self.context.wrap_socket(request, server_side=True) as secured:
            self.RequestHandlerClass(secured, address, self)


class Line(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"at %s\n" % self.connection.getsockname()[0].encode())
        while self.connection.recv(4096):
            pass


class Lines(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, *arguments):
        pass


def names(address, known):
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind((address, 53))
    with open(f"{FOLDER}/asked", "a") as asked:
        while True:
            query, client = own.recvfrom(4096)
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            name, kind = ".".join(labels).lower(), query[at + 1:at + 3]
            print(name, file=asked, flush=True)
            found = known.get(name)
            answers = b""
            if found and kind == b"\0\1":
                answers = b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4" + socket.inet_aton(found)
            head = query[:2] + (b"\x81\x80" if found else b"\x81\x83")
            counts = b"\0\1" + (b"\0\1" if answers else b"\0\0") + b"\0\0\0\0"
            own.sendto(head + counts + query[12:at + 5] + answers, client)


Secure.context.load_cert_chain(f"{FOLDER}/server.pem", f"{FOLDER}/server.key")
servers = [Web(("", 80), Handler), Secure(("", 443), Handler), Lines(("", 7000), Line)]
work = [server.serve_forever for server in servers]
threads = [threading.Thread(target=own) for own in work]
threads.append(threading.Thread(target=names, args=(DNS, NAMES)))
threads.append(threading.Thread(target=names, args=(OTHER, OTHERS)))
for thread in threads:
    thread.start()
print("up", flush=True)
