"""The unmodified Python SDK against a real server, in both encodings."""

import asyncio
import itertools
import os
import time

import pytest
from centrifuge import ClientState, ReplyError, StreamPosition

from harness import Sessions, server, sign

# The first driver has all tests, the others those of the core.
DRIVERS = os.environ.get("DRIVERS", "io_uring,epoll").split(",")

ENCODINGS = [pytest.param(False, id="json"), pytest.param(True, id="protobuf")]

numbers = itertools.count()


def pytest_generate_tests(metafunc):
    is_core = any(mark.name == "core" for mark in metafunc.definition.iter_markers())
    drivers = DRIVERS if is_core else DRIVERS[:1]
    metafunc.parametrize("running", drivers, indirect=True, scope="module")


@pytest.fixture(scope="module")
def running(request):
    """The port of a server on one driver."""
    with server(request.param) as port:
        yield port


@pytest.fixture(params=ENCODINGS)
def run(running, request):
    """Runs a test's coroutine with sessions that end with it."""

    def run(test):
        async def whole():
            sessions = Sessions(running, request.param)
            try:
                await test(sessions)
            finally:
                await sessions.close()

        asyncio.run(whole())

    return run


def new_room(namespace):
    return f"{namespace}:room-{os.getpid()}-{next(numbers)}"


def test_client_without_a_token_is_refused_for_good(run):
    async def test(sessions):
        session = await sessions.create()
        await session.client.connect()
        context = await session.heard.until("disconnected")
        assert context.code == 3501
        assert session.client.state == ClientState.DISCONNECTED

    run(test)


def test_token_that_ends_is_replaced_and_the_connection_stays(run):
    async def test(sessions):
        asked, third = [], asyncio.Event()

        async def get_token():
            asked.append(None)
            if len(asked) == 3:
                third.set()
            return sign(sub="ada", exp=int(time.time()) + 5)

        session = await sessions.create(get_token=get_token)
        await session.client.connect()
        await session.heard.until("connected")
        await asyncio.wait_for(third.wait(), 60)
        assert session.heard.told.empty()
        assert session.client.state == ClientState.CONNECTED

    run(test)


def test_messages_arrive_in_order_with_who_published_them(run):
    async def test(sessions):
        ada, grace = await sessions.connect("ada"), await sessions.connect("grace")
        room = new_room("chat")
        _, heard, _ = await ada.subscribe(room)
        _, also, _ = await grace.subscribe(room)
        values = [{"text": "日本語 🦀\n\"", "n": n} for n in range(200)] + ["x" * 60 * 1024]
        for value in values:
            await grace.publish(room, value)
        first = await heard.until("publication")
        assert first.pub.info.user == "grace"
        assert [ada.decode(first.pub.data)] + await ada.values(heard, 200) == values
        assert await grace.values(also, 201) == values

    run(test)


def test_presence_and_history_are_answered(run):
    async def test(sessions):
        ada, grace = await sessions.connect("ada"), await sessions.connect("grace")
        room = new_room("chat")
        subscription, heard, _ = await ada.subscribe(room, join_leave=True)
        await grace.subscribe(room)
        joined = [(await heard.until("join")).info.user for _ in range(2)]
        assert joined == ["ada", "grace"]
        presence = await subscription.presence()
        assert sorted(it.user for it in presence.clients.values()) == ["ada", "grace"]
        stats = await subscription.presence_stats()
        assert (stats.num_clients, stats.num_users) == (2, 2)
        await grace.client.get_subscription(room).unsubscribe()
        assert (await heard.until("leave")).info.user == "grace"

        for n in range(1, 13):
            await grace.publish(room, n)
        page = await subscription.history(limit=10)
        assert [ada.decode(it.data) for it in page.publications] == list(range(1, 11))
        since = StreamPosition(offset=10, epoch=page.epoch)
        page = await subscription.history(limit=10, since=since)
        assert [(ada.decode(it.data), it.offset) for it in page.publications] == [(11, 11), (12, 12)]
        since = StreamPosition(offset=3, epoch=page.epoch)
        page = await subscription.history(limit=10, since=since, reverse=True)
        assert [ada.decode(it.data) for it in page.publications] == [2, 1]

    run(test)


def test_lacking_right_is_denied_and_unknown_namespace_unknown(run):
    async def test(sessions):
        ada = await sessions.connect("ada")
        for room, code in [(new_room("closed"), 103), ("nowhere:room", 102)]:
            with pytest.raises(ReplyError) as refused:
                await ada.publish(room, 1)
            assert refused.value.code == code

    run(test)


def test_private_room_opens_with_a_token_of_that_room(run):
    async def test(sessions):
        ada = await sessions.connect("ada")
        room = "$" + new_room("feed")

        async def get_token(channel):
            return sign(sub="ada", channel=channel)

        _, heard, _ = await ada.subscribe(room, get_token=get_token)
        await ada.publish(room, "hello")
        assert await ada.values(heard, 1) == ["hello"]

    run(test)


@pytest.mark.core
def test_client_that_was_cut_off_gets_exactly_what_it_missed(run):
    async def test(sessions):
        ada, grace = await sessions.connect("ada"), await sessions.connect("grace")
        room = new_room("chat")
        _, heard, began = await ada.subscribe(room, positioned=True, recoverable=True)
        assert (began.recoverable, began.recovered) == (True, False)
        await grace.publish(room, "before")
        assert await ada.values(heard, 1) == ["before"]

        ada.line.cut()
        await heard.until("subscribing")
        for n in range(50):
            await grace.publish(room, n)
        ada.line.mend()

        again = await heard.until("subscribed")
        assert (again.was_recovering, again.recovered) == (True, True)
        await grace.publish(room, "after")
        assert await ada.values(heard, 51) == [*range(50), "after"]
        assert heard.told.empty()

    run(test)


def test_room_of_one_value_gives_it_to_every_subscriber_unasked(run):
    async def test(sessions):
        ada, grace = await sessions.connect("ada"), await sessions.connect("grace")
        room = new_room("latest")
        for price in [1, 2]:
            await grace.publish(room, price)
        _, heard, _ = await ada.subscribe(room)
        assert await ada.values(heard, 1) == [2]
        ada.line.cut()
        await heard.until("subscribing")
        for price in [3, 4]:
            await grace.publish(room, price)
        ada.line.mend()
        await heard.until("subscribed")
        await grace.publish(room, 5)
        assert await ada.values(heard, 2) == [4, 5]
        assert heard.told.empty()

    run(test)


def test_who_missed_more_than_is_kept_is_told(run):
    async def test(sessions):
        ada, grace = await sessions.connect("ada"), await sessions.connect("grace")
        room = new_room("short")
        _, heard, _ = await ada.subscribe(room)
        await grace.publish(room, "before")
        assert await ada.values(heard, 1) == ["before"]
        ada.line.cut()
        await heard.until("subscribing")
        for n in range(3):
            await grace.publish(room, n)
        ada.line.mend()
        again = await heard.until("subscribed")
        assert (again.was_recovering, again.recovered) == (True, False)
        assert again.stream_position.offset == 4
        await grace.publish(room, "after")
        assert await ada.values(heard, 1) == ["after"]

    run(test)
