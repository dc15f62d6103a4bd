"""A server behind nginx or HAProxy, with the rules of the operator's document, and clients that say exactly what a
check has them say."""

import contextlib
import json
import re
import socket
import time
import urllib.parse
import urllib.request

from conftest import free_port
from test_scrape import started

PATIENCE_SECONDS = 20
PROXIES = ["nginx", "haproxy"]

# Everybody may do everything, so that only the transport decides.
ROOMS = """
anonymous = "on"
[rooms]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
presence = true
read_presence = ["client", "anonymous"]
read_history = ["client", "anonymous"]
history_size = 1000
history_ttl = "5m"
"""

# What nginx needs around a server to run beside others, without the right to write anywhere else.
AROUND = """
daemon off;
master_process off;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    {rules}
}}
"""


def rules_of(operations, proxy, names_clients):
    """The settings of the server and the rules of the proxy in the document: where the proxy names its clients,
    and where it keeps connections instead."""
    blocks = re.findall(rf"```{proxy}\n([^`]*)```", operations)
    keeps = lambda block: "keepalive" in block or "http-reuse" in block
    named = lambda block: "X-Forwarded-For" in block or "forwardfor" in block
    (rules,) = [block for block in blocks if (named if names_clients else keeps)(block)]
    (settings,) = [
        block
        for block in re.findall(r"```toml\n([^`]*)```", operations)
        if ('proxy_header = "x-forwarded-for"' if names_clients else "address_rate = 0") in block
    ]
    return settings, rules


class Behind:
    """A server, and the port of a proxy before it."""

    def __init__(self, server, operations, home, proxy, driver, names_clients, flags=(), changed=lambda rules: rules):
        self.port, self.public, self.internal = free_port(), free_port(), free_port()
        self.proxy, self.names_clients = proxy, names_clients
        settings, rules = rules_of(operations, proxy, names_clients)
        (home / "hubbub.toml").write_text(settings.replace("10.0.0.7", "127.0.0.1") + ROOMS)
        rules = rules.replace("10.0.0.8:8000", f"127.0.0.1:{self.public}").replace("port 9000", f"port {self.internal}")
        rules = rules.replace("bind :443", f"bind 127.0.0.1:{self.port}").replace("listen 8080", f"listen 127.0.0.1:{self.port}")
        serves = [server, f"--config={home}/hubbub.toml", f"--driver={driver}", "--cores=2"]
        serves += [f"--listen=127.0.0.1:{self.public}", f"--internal-listen=127.0.0.1:{self.internal}", *flags]
        if proxy == "nginx":
            rules = AROUND.format(home=home, rules=changed(rules))
            proxies = ["nginx", "-p", home, "-c", home / "rules", "-e", home / "error.log"]
        else:
            rules = changed(rules)
            proxies = ["haproxy", "-db", "-f", home / "rules"]
        (home / "rules").write_text(rules)
        self.processes = [started(*serves), started(*proxies)]

    def __enter__(self):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with contextlib.suppress(OSError, AssertionError):
                caller = Caller(self.port)
                caller.send(request("OPTIONS", "/emulation"))
                if caller.answer().status == 204:
                    return self
            assert time.monotonic() < deadline, "the server is not reached through the proxy"
            time.sleep(0.1)

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()

    def metric(self, name, label=""):
        """The sum of all series of this name, with this label if there is one."""
        lines = self.page("/metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[ {{]", line) and label in line)

    def page(self, path):
        """A page for operators."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.internal}{path}", timeout=10) as page:
            return page.read().decode()

    def peers(self, protocol):
        """The addresses of the clients of this protocol, as the server sees them."""
        view = json.loads(self.page("/debug/connections?top=1000"))
        return [it["peer"].split(":")[0] for it in view["oldest"] if it["protocol"] == protocol]


def request(method, target, *fields, body=b""):
    """The bytes of a request; a body has its length in the head, unless a field says otherwise."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields]
    if body and not any(field.lower().startswith(("content-length", "transfer-encoding")) for field in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    def __repr__(self):
        return f"{self.status} {self.fields} {self.body[:200]}"


class Caller:
    """A connection to a proxy."""

    def __init__(self, port, source="127.0.0.1", receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE_SECONDS)
        self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def head(self):
        """The status and the fields of the next answer."""
        line = self.file.readline()
        assert line.startswith(b"HTTP/1.1 "), f"no answer but {line!r}"
        fields = {}
        while (field := self.file.readline().strip()) != b"":
            name, value = field.decode().split(":", 1)
            fields[name.lower()] = value.strip()
        return int(line.split()[1]), fields

    def answer(self):
        """The next answer that is the last one to its request."""
        status, fields = self.head()
        while status == 100:
            status, fields = self.head()
        if status in (204, 304):
            return Answer(status, fields, b"")
        if fields.get("transfer-encoding") == "chunked":
            return Answer(status, fields, b"".join(iter(self.chunk, b"")))
        return Answer(status, fields, self.file.read(int(fields["content-length"])))

    def chunk(self):
        """The next chunk of a body, empty at its end."""
        line = self.file.readline()
        assert line.endswith(b"\r\n"), f"the body is cut off: {line!r}"
        chunk = self.file.read(int(line, 16))
        assert self.file.readline() == b"\r\n"
        return chunk

    def is_over(self):
        """Whether the proxy says nothing more."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.file.close()
        self.socket.close()


class Stream(Caller):
    """An answer that lasts; its messages are lines of JSON."""

    def __init__(self, port, path, frame, **options):
        super().__init__(port, **options)
        self.read = b""
        if path.endswith("sse"):
            self.send(request("GET", f"{path}?cf_connect={urllib.parse.quote(frame, safe='')}"))
        else:
            self.send(request("POST", path, body=frame.encode()))
        status, self.fields = self.head()
        assert status == 200, status

    def message(self):
        """The next message that is not a heartbeat."""
        while True:
            while b"\n" not in self.read:
                chunk = self.chunk()
                assert chunk, "the stream has ended"
                self.read += chunk
            line, self.read = self.read.split(b"\n", 1)
            line = line.removeprefix(b"data: ")
            if line not in (b"", b"{}"):
                return json.loads(line)


class Session(Stream):
    """A session over a stream, whose commands go by requests beside it."""

    def __init__(self, port, path="/connection/http_stream"):
        super().__init__(port, path, '{"id":1,"connect":{}}')
        said = self.message()["connect"]
        self.session, self.node = said["session"], said["node"]

    def emulate(self, command, *fields, pad=0):
        """The bytes of a request with a command for this session, with so many blanks behind it."""
        data = command if isinstance(command, str) else json.dumps(command)
        body = json.dumps({"session": self.session, "node": self.node, "data": data + " " * pad})
        return request("POST", "/emulation", "Content-Type: text/plain", *fields, body=body.encode())

    def until(self, id):
        """What is said up to the answer with this id."""
        said = []
        while True:
            said.append(self.message())
            if said[-1].get("id") == id:
                return said
