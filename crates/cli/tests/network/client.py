"""A client of the platform: starts it, and does what it's told, one JSON line each."""

import base64, http.client, json, os, struct, subprocess, sys, threading

LISTEN = "127.0.0.1:3000"
server = subprocess.Popen(
    [sys.argv[1], "serve", "--listen", LISTEN, "--warm", "0", *sys.argv[2:]], stdout=subprocess.PIPE, text=True
)
key = next(line.split("E2B_API_KEY=")[1].split()[0] for line in server.stdout if "E2B_API_KEY=" in line)
threading.Thread(target=server.stdout.read, daemon=True).start()
tokens, begun = {}, []


def api(method, path, body=None):
    connection = http.client.HTTPConnection(LISTEN, timeout=60)
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def create(wish):
    status, body = api("POST", "/sandboxes", {"templateID": "base", "timeout": 300, **wish})
    if status != 201:
        return {"status": status, "said": json.loads(body)["message"]}
    made = json.loads(body)
    tokens[made["sandboxID"]] = made.get("envdAccessToken")
    return {"status": status, "id": made["sandboxID"]}


def update(id, wish):
    status, body = api("PUT", f"/sandboxes/{id}/network", wish)
    return {"status": status, "said": json.loads(body)["message"] if body else ""}


def kill(id):
    return {"status": api("DELETE", f"/sandboxes/{id}")[0]}


def frames(stream):
    while head := stream.read(5):
        flags, length = struct.unpack(">BI", head)
        yield flags, json.loads(stream.read(length))


def run(id, command):
    connection = http.client.HTTPConnection(LISTEN, timeout=120)
    asked = json.dumps({"process": {"cmd": command[0], "args": command[1:]}, "stdin": False}).encode()
    connection.request("POST", "/process.Process/Start", struct.pack(">BI", 0, len(asked)) + asked, {
        "E2b-Sandbox-Id": id,
        "E2b-Sandbox-Port": "49983",
        "X-Access-Token": tokens[id] or "",
        "Authorization": "Basic " + base64.b64encode(b"user:").decode(),
        "Content-Type": "application/connect+json",
        "Connect-Protocol-Version": "1",
    })
    out, err, end = b"", b"", {}
    for flags, message in frames(connection.getresponse()):
        event = message.get("event", {})
        data = event.get("data", {})
        out += base64.b64decode(data.get("stdout", ""))
        err += base64.b64decode(data.get("stderr", ""))
        if flags & 2 and "error" in message:
            end = message["error"]
        end = event.get("end", end)
    return {"out": out.decode(), "err": err.decode(), "end": end}


def script(program, text):
    """What a script says that is a client by itself."""
    url = f"http://{LISTEN}"
    own = {"E2B_API_KEY": key, "E2B_API_URL": url, "E2B_SANDBOX_URL": url}
    done = subprocess.run([program, "-c", text], env={**os.environ, **own}, capture_output=True, text=True)
    return {"out": done.stdout, "err": done.stderr}


def begin(id, command):
    place = {}
    thread = threading.Thread(target=lambda: place.update(run(id, command)))
    thread.start()
    begun.append((thread, place))
    return {"number": len(begun) - 1}


def wait(number):
    thread, place = begun[number]
    thread.join()
    return place


for line in sys.stdin:
    name, arguments = json.loads(line)
    print(json.dumps(globals()[name](*arguments)), flush=True)
for id in tokens:
    kill(id)
server.terminate()
server.wait()
