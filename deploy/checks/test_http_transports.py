"""The transports over HTTP behind nginx and HAProxy, with connections that are kept and with requests that name their
clients: every answer is that of its own request, and nothing in a body ever acts as a request."""

import itertools
import json
import threading
import time

import pytest
from conftest import run
from proxied import PROXIES, Behind, Caller, Session, Stream, request, rules_of

STREAMS = ["/connection/http_stream", "/connection/sse"]
ONE_WAY = ["/connection/uni_http_stream", "/connection/uni_sse"]
MESSAGE_BYTES_MAX = 64 << 10
# A kept connection on which nothing is asked ends after this time.
HANDSHAKE_SECONDS = 2


@pytest.fixture(
    scope="module",
    params=itertools.product(PROXIES, ["io_uring", "epoll"], [False, True]),
    ids=lambda it: f"{it[0]}-{it[1]}-{'named' if it[2] else 'kept'}",
)
def behind(request, server, operations, tmp_path_factory):
    proxy, driver, names_clients = request.param
    flags = [f"--handshake-timeout={HANDSHAKE_SECONDS}s", "--drain-delay=0s"]
    home = tmp_path_factory.mktemp(proxy)
    with Behind(server, operations, home, proxy, driver, names_clients, flags) as behind:
        yield behind


@pytest.mark.parametrize("names_clients", [False, True])
def test_rules_of_the_document_are_valid(operations, tmp_path, names_clients):
    _, rules = rules_of(operations, "haproxy", names_clients)
    (tmp_path / "rules").write_text(rules)
    run("haproxy", "-c", "-f", tmp_path / "rules")


def question(id, **fields):
    return {"id": id, "presence_stats": {"channel": "a"}, **fields}


def publication(id, room, data):
    return {"id": id, "publish": {"channel": room, "data": data}}


def published(session, room):
    """What has been published in the room."""
    caller = Caller(session.port)
    caller.send(session.emulate({"id": 9000, "history": {"channel": room, "limit": -1}}))
    assert caller.answer().status == 204
    *_, reply = session.until(9000)
    return [it["data"] for it in reply["history"].get("publications", [])]


def session(behind, path=STREAMS[0]):
    made = Session(behind.port, path)
    made.port = behind.port
    return made


def test_requests_of_two_sessions_reach_each_its_own_over_shared_connections(behind):
    sessions = [session(behind, path) for path in STREAMS]
    opened = behind.metric("hubbub_connections_opened_total")
    failures = []

    def send(sender):
        caller = Caller(behind.port)
        try:
            for n in range(40):
                whose = sessions[(sender + n) % 2]
                # Bodies of all lengths: in one piece, in several, and longer than the proxies' buffers.
                pad = n * n * 31 % 60_000
                caller.send(whose.emulate(question(1000 * sender + n + 2), pad=pad))
                answer = caller.answer()
                assert (answer.status, answer.body) == (204, b""), answer
        except Exception as error:
            failures.append(error)

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert not failures, failures
    heard = [[whose.message()["id"] for _ in range(80)] for whose in sessions]
    for whose, ids in enumerate(heard):
        expected = {1000 * sender + n + 2 for sender in range(4) for n in range(40) if (sender + n) % 2 == whose}
        assert set(ids) == expected and len(ids) == 80
        for sender in range(4):
            own = [id for id in ids if id // 1000 == sender]
            assert own == sorted(own), "the requests of one connection kept their order"
    more = behind.metric("hubbub_connections_opened_total") - opened
    assert (more >= 160) if behind.names_clients else (more < 40), f"{more} connections for 160 requests"


def test_requests_in_bodies_never_act(behind):
    attacker, victim = session(behind), session(behind)
    rooms = behind.metric("hubbub_rooms")
    hidden = [
        victim.emulate(publication(2, "hidden", "smuggled")),
        request("GET", "/rooms/hidden", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        request("POST", "/connection/uni_http_stream", body=b'{"subs":{"hidden":{}}}'),
    ]
    for smuggled in hidden:
        # As a body that is no request of emulation, as a stream's first frame, and as what it has to say.
        for target, body, status in [
            ("/emulation", smuggled, 400),
            ("/emulation", b"0\r\n\r\n" + smuggled, 400),
            ("/connection/uni_sse", smuggled, 400),
            ("/echo", smuggled, 400),
            ("/", smuggled, 405),
        ]:
            caller = Caller(behind.port)
            caller.send(request("POST", target, body=body))
            answer = caller.answer()
            assert answer.status == status, answer
            goes_on(behind, caller, answer, attacker)
        caller = Caller(behind.port)
        caller.send(attacker.emulate({"id": 5, "rpc": {"method": smuggled.decode()}}))
        assert caller.answer().status == 204
        assert attacker.until(5)[-1]["error"]["code"] == 108
    assert behind.metric("hubbub_rooms") == rooms
    assert published(victim, "hidden") == []


def goes_on(behind, caller, answer, of, id=itertools.count(100)):
    """The next request of this client is answered rightly: on its connection if the proxy keeps that, or else on
    another one."""
    number = next(id)
    if answer.fields.get("connection") == "close":
        assert caller.is_over()
        caller = Caller(behind.port)
    caller.send(of.emulate(question(number)))
    following = caller.answer()
    assert following.status == 204, following
    assert of.until(number)[-1]["presence_stats"] is not None


# What stands behind such a head is the beginning of a request that would swallow the next one.
POISON = b"0\r\n\r\nGET /poison HTTP/1.1\r\nHost: localhost\r\nX-Swallows: "


@pytest.mark.parametrize(
    "fields",
    [
        ["Content-Length: 4", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 4"],
        ["Content-Length: 60", "Transfer-Encoding : chunked"],
        ["Content-Length: 60", "Transfer-Encoding: xchunked"],
        ["Content-Length: 60", "Transfer-Encoding:\x0bchunked"],
        ["Content-Length: 60", "Transfer-Encoding: chunked, identity"],
        ["Content-Length: 60", "Transfer-Encoding: identity"],
        ["Content-Length: 60", "X: y", " Transfer-Encoding: chunked"],
        ["Content-Length: 4", "Content-Length: 60"],
        ["Content-Length: 60", "Content-Length: 4"],
        ["Content-Length: 4, 60"],
        ["Content-Length: +4"],
        ["Content-Length: 4 60"],
        ["Content-Length: 0x4"],
        ["Content-Length : 4"],
        ["Content-Length:"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip, chunked"],
    ],
    ids=lambda fields: "; ".join(fields),
)
def test_lengths_of_two_readings_poison_nobodys_connection(behind, fields):
    other = session(behind)
    for n in range(4):
        caller = Caller(behind.port)
        caller.send(request("POST", "/emulation", *fields, body=POISON))
        innocent = Caller(behind.port)
        for id in (2 * n + 2, 2 * n + 3):
            innocent.send(other.emulate(question(id)))
            answer = innocent.answer()
            assert answer.status == 204, answer
            assert other.until(id)[-1]["id"] == id
        caller.close()
        innocent.close()


def test_body_in_chunks_is_collected_by_nginx_and_refused_behind_haproxy(behind):
    whose = session(behind)
    whole = whose.emulate(publication(2, "chunks", 1))
    head, body = whole.split(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:20], body[20:])) + b"0\r\n\r\n"
    caller = Caller(behind.port)
    caller.send(b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", chunks]))
    answer = caller.answer()
    if behind.proxy == "nginx":
        assert answer.status == 204
        whose.until(2)
        assert published(whose, "chunks") == [1]
    else:
        assert answer.status == 400, answer
        assert published(whose, "chunks") == []
        # So is a request that would need no body, or the chunks would be taken for the next one.
        other = Caller(behind.port)
        other.send(b"\r\n".join([b"OPTIONS /emulation HTTP/1.1", b"Host: localhost", b"Transfer-Encoding: chunked", b"", chunks]))
        assert other.answer().status == 400
    goes_on(behind, caller, answer, whose)


def test_client_that_waits_for_a_100_is_answered(behind):
    whose = session(behind)
    head, body = whose.emulate(question(2), "Expect: 100-continue").split(b"\r\n\r\n")
    caller = Caller(behind.port)
    caller.send(head + b"\r\n\r\n")
    assert caller.head()[0] == 100
    caller.send(body)
    assert caller.answer().status == 204
    assert whose.until(2)[-1]["id"] == 2
    # Who is refused is told so instead, or after the 100 of a proxy that collects bodies.
    caller = Caller(behind.port)
    caller.send(request("POST", "/emulation", "Expect: 100-continue", "Origin: https://elsewhere.example", "Content-Length: 4"))
    status, fields = caller.head()
    if status == 100:
        caller.send(b"body")
        status, fields = caller.head()
    assert status == 403


@pytest.mark.parametrize("leaves", [True, False], ids=["and leaves", "and stays"])
def test_body_that_is_shorter_than_announced_takes_nothing_of_others(behind, leaves):
    whose = session(behind)
    unfinished = []
    for n in range(8):
        short = Caller(behind.port)
        # All but the blanks at its end is there, so that it would act if anything looked at it.
        whole = json.loads(whose.emulate(publication(2, "short", n)).split(b"\r\n\r\n")[1])
        short.send(request("POST", "/emulation", body=json.dumps(whole).encode() + b" " * 5)[:-5])
        if leaves:
            short.close()
        unfinished.append(short)
        other = Caller(behind.port)
        other.send(whose.emulate(question(n + 3)))
        assert other.answer().status == 204
        assert whose.until(n + 3)[-1]["id"] == n + 3
    assert published(whose, "short") == []
    for short in unfinished:
        short.close()


def test_requests_behind_one_another_are_answered_in_their_order(behind):
    whose = session(behind)
    caller = Caller(behind.port)
    sent = []
    for n in range(30):
        sent += [whose.emulate(question(n + 2), pad=n * 100), request("GET", f"/nowhere/{n}"), request("OPTIONS", "/emulation")]
    caller.send(b"".join(sent))
    assert [caller.answer().status for _ in sent] == [204, 404, 204] * 30
    assert [whose.message()["id"] for _ in range(30)] == list(range(2, 32))


def test_streams_and_other_requests_share_the_connections_without_mixing(behind):
    sessions = [session(behind, path) for path in STREAMS]
    listeners = [Stream(behind.port, path, '{"subs":{"shared":{}}}') for path in ONE_WAY]
    for listener in listeners:
        assert "connect" in listener.message()
    caller = Caller(behind.port)
    for whose in sessions:
        caller.send(whose.emulate({"id": 2, "subscribe": {"channel": "shared"}}))
        assert caller.answer().status == 204
        whose.until(2)
    for n in range(60):
        caller.send(sessions[n % 2].emulate(publication(n + 3, "shared", n)))
        assert caller.answer().status == 204
        caller.send(request("GET", f"/nowhere/{n}"))
        assert caller.answer().status == 404
    # Requests for two sessions may overtake one another; those for one do not, and all hear one order.
    orders = [[listener.message()["pub"]["data"] for _ in range(60)] for listener in listeners]
    for whose in sessions:
        said = [whose.message() for _ in range(60 + 30)]
        orders.append([it["push"]["pub"]["data"] for it in said if "push" in it])
    assert sorted(orders[0]) == list(range(60))
    assert all(order == orders[0] for order in orders)
    for first in (0, 1):
        assert [n for n in orders[0] if n % 2 == first] == list(range(first, 60, 2))


# Requests that are refused with the body that they have, which nobody reads.
REFUSED = [
    ("POST", "/emulation", ["Origin: https://elsewhere.example"], 10, 403),
    ("POST", "/connection/sse", ["Origin: https://elsewhere.example"], 60_000, 403),
    ("PUT", "/emulation", [], 10, 405),
    ("DELETE", "/connection/sse", [], 60_000, 405),
    ("POST", "/connection/http_stream", [], MESSAGE_BYTES_MAX + 1, 413),
    ("POST", "/emulation", [], 500_000, 413),
    ("POST", "/emulation", ["Origin: https://elsewhere.example"], 500_000, 413),
    ("POST", "/nowhere", [], 60_000, 404),
    ("POST", "/echo", [], 60_000, 400),
]


@pytest.mark.parametrize("method, target, fields, bytes, status", REFUSED)
def test_refused_request_with_a_body_leaves_the_next_one_right(behind, method, target, fields, bytes, status):
    whose = session(behind)
    body = (b"GET /poison HTTP/1.1\r\nHost: a\r\n\r\n" * (bytes // 20 + 1))[:bytes]
    for _ in range(4):
        caller = Caller(behind.port)
        caller.send(request(method, target, *fields, body=body))
        answer = caller.answer()
        assert answer.status == status, answer
        goes_on(behind, caller, answer, whose)


def test_kept_connection_that_ended_in_silence_costs_no_request(behind):
    whose = session(behind)
    caller = Caller(behind.port)
    for id, pause in [(2, HANDSHAKE_SECONDS + 0.5), (3, 0)]:
        caller.send(whose.emulate(question(id)))
        assert caller.answer().status == 204
        whose.until(id)
        time.sleep(pause)


def test_first_frame_in_an_address_may_be_long(behind):
    rooms = [f'{{"id":{n},"subscribe":{{"channel":"room-with-a-name-{n}","recover":true,"epoch":"abcdefgh","offset":5}}}}' for n in range(2, 130)]
    stream = Stream(behind.port, "/connection/sse", "\n".join(['{"id":1,"connect":{}}', *rooms]))
    assert sorted(stream.message()["id"] for _ in range(129)) == list(range(1, 130))


def test_client_of_a_stream_and_of_its_requests_is_the_one_that_a_trusted_proxy_names(behind):
    client = "127.0.0.5"
    stream = Stream(behind.port, "/connection/uni_sse", "{}", source=client)
    assert "connect" in stream.message()
    assert (client in behind.peers("centrifuge-uni-sse")) == behind.names_clients
    whose = session(behind)
    caller = Caller(behind.port, source=client)
    # A client may claim to be another one; what the proxy says stands behind that.
    caller.send(whose.emulate(question(2), "X-Forwarded-For: 192.0.2.7"))
    assert caller.answer().status == 204
    whose.until(2)
    assert behind.metric("hubbub_addresses") == 0, "those of this machine are not counted, and 192.0.2.7 is not believed"


def test_slow_reader_is_noticed_by_the_server_and_not_hidden_by_the_proxy(behind):
    slow = Stream(behind.port, "/connection/uni_http_stream", '{"subs":{"loud":{}}}', receive_buffer=4096)
    assert "connect" in slow.message()
    publisher = session(behind)
    caller = Caller(behind.port)
    slow_ones = lambda: behind.metric("hubbub_subscriptions_lost_total", 'reason="lagging"')
    before = slow_ones()
    # Several times what is queued for one connection, and the buffers between; a proxy that gathers takes 1 GiB.
    for n in range(600):
        caller.send(publisher.emulate(publication(n + 2, "loud", "x" * 15_000)))
        assert caller.answer().status == 204
        publisher.until(n + 2)
    assert slow_ones() == before + 1
    while (said := slow.message()).get("disconnect") is None:
        assert "pub" in said
    assert said["disconnect"]["code"] == 3008


@pytest.fixture(params=itertools.product(PROXIES, ["io_uring", "epoll"]), ids="-".join)
def impatient(request, server, operations, tmp_path):
    """A proxy that waits for two seconds, before a server with a heartbeat each second."""
    changed = lambda rules: rules.replace("75s", "2s")
    flags = ["--ping-interval=1s", "--pong-timeout=900ms", "--drain-delay=0s"]
    proxy, driver = request.param
    with Behind(server, operations, tmp_path, proxy, driver, False, flags, changed) as behind:
        yield behind


def test_heartbeats_keep_one_way_streams_alive(impatient):
    streams = [Stream(impatient.port, path, '{"subs":{"live":{}}}') for path in ONE_WAY]
    for stream in streams:
        # A few bytes of an answer that goes on are here at once.
        assert stream.message()["connect"]["ping"] == 1
    time.sleep(3.5)
    publisher = Session(impatient.port)
    caller = Caller(impatient.port)
    caller.send(publisher.emulate(publication(2, "live", "still here")))
    assert caller.answer().status == 204
    for stream in streams:
        assert stream.message()["pub"]["data"] == "still here"


def test_stream_without_heartbeats_would_be_ended_by_such_a_proxy(server, operations, tmp_path):
    changed = lambda rules: rules.replace("75s", "1s")
    flags = ["--ping-interval=25s", "--drain-delay=0s"]
    for proxy in PROXIES:
        home = tmp_path / proxy
        home.mkdir()
        with Behind(server, operations, home, proxy, "epoll", False, flags, changed) as behind:
            stream = Stream(behind.port, ONE_WAY[1], "{}")
            assert "connect" in stream.message()
            with pytest.raises((AssertionError, ConnectionResetError)):
                stream.message()


def test_drain_ends_streams_through_the_proxy_with_all_that_they_have_to_say(server, operations, tmp_path):
    for proxy, driver in itertools.product(PROXIES, ["io_uring", "epoll"]):
        home = tmp_path / f"{proxy}-{driver}"
        home.mkdir()
        with Behind(server, operations, home, proxy, driver, False, ["--drain-delay=0s", "--drain-timeout=200ms"]) as behind:
            streams = [Stream(behind.port, path, '{"subs":{"a":{}}}') for path in ONE_WAY]
            streams += [Session(behind.port, path) for path in STREAMS]
            for stream in streams[:2]:
                assert "connect" in stream.message()
            behind.processes[0].terminate()
            for stream in streams:
                said = stream.message()
                said = said.get("push", said)
                assert said["disconnect"]["code"] == 3001, json.dumps(said)
                rest = b"".join(iter(stream.chunk, b""))
                assert rest.strip() == b"", "the last chunk follows"
