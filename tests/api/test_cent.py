"""The unmodified client `cent` from PyPI: each of its methods that are no paid extra of Centrifugo's."""

import asyncio
import json

import aiohttp
import cent
import pytest


class Session:
    """A client of the Centrifuge protocol without an SDK, so that the tests see each message."""

    def __init__(self, socket):
        self.socket = socket
        self.lines = []

    @classmethod
    async def open(cls, http, server):
        socket = await http.ws_connect(server.public.replace("http", "ws") + "/connection/websocket")
        session = cls(socket)
        await socket.send_str('{"id":1,"connect":{}}')
        session.client = (await session.next())["connect"]["client"]
        return session

    async def next(self):
        while not self.lines:
            message = await asyncio.wait_for(self.socket.receive(), 30)
            if message.type != aiohttp.WSMsgType.TEXT:
                return self.socket.close_code
            self.lines = [json.loads(line) for line in message.data.splitlines()]
        return self.lines.pop(0)

    async def push(self):
        return (await self.next())["push"]


def rooms(client):
    """What a client can do with rooms; it is the same for both kinds of clients."""
    return [
        client.publish(cent.PublishRequest(channel="chat:a", data={"n": 1}, tags={"of": "cent"})),
        client.publish(cent.PublishRequest(channel="chat:a", data="text", idempotency_key="k")),
        client.publish(cent.PublishRequest(channel="chat:a", data="text", idempotency_key="k")),
        client.publish(cent.PublishRequest(channel="chat:a", data=[], skip_history=True)),
        client.broadcast(cent.BroadcastRequest(channels=["chat:b", "nowhere:a", "chat:a"], data=[1, 2])),
        client.history(cent.HistoryRequest(channel="chat:a", limit=-1)),
        client.history(
            cent.HistoryRequest(
                channel="chat:a", limit=1, reverse=True, since=cent.StreamPosition(offset=4, epoch="")
            )
        ),
        client.presence(cent.PresenceRequest(channel="chat:a")),
        client.presence_stats(cent.PresenceStatsRequest(channel="chat:a")),
        client.channels(cent.ChannelsRequest()),
        client.channels(cent.ChannelsRequest(pattern="chat:*")),
        client.info(cent.InfoRequest()),
        client.history_remove(cent.HistoryRemoveRequest(channel="chat:a")),
    ]


def check_rooms(results):
    first, second, again, skipped, broadcast, history, before, presence, stats, channels, some, info, removed = results
    assert (first.offset, second.offset, skipped.offset) == (1, 2, 3)
    assert again == second and first.epoch == second.epoch != ""
    assert [response.result and response.result.offset for response in broadcast.responses] == [1, None, 4]
    assert broadcast.responses[1].error.code == 102
    assert [publication.data for publication in history.publications] == [{"n": 1}, "text", [1, 2]]
    assert history.publications[0].tags == {"of": "cent"} and history.publications[0].info is None
    assert (history.offset, history.epoch) == (4, first.epoch)
    assert [publication.offset for publication in before.publications] == [2]
    assert presence.presence == {} and (stats.num_clients, stats.num_users) == (0, 0)
    assert channels.channels == {} and some.channels == {}
    assert len(info.nodes) == 1 and info.nodes[0].name == "hubbub" and info.nodes[0].process.rss > 0
    assert isinstance(removed, cent.HistoryRemoveResult)


def test_each_method_about_rooms(server):
    check_rooms(rooms(cent.Client(server.api + "/api", server.key)))
    assert server.call("history", channel="chat:a", limit=-1)["publications"] == []


def test_each_method_about_rooms_without_waiting(server):
    async def all_of_them():
        client = cent.AsyncClient(server.api + "/api", server.key)
        check_rooms([await call for call in rooms(client)])
        await client.close()

    asyncio.run(all_of_them())


def test_each_method_about_connections(server):
    async def all_of_them():
        client = cent.AsyncClient(server.api + "/api", server.key)
        async with aiohttp.ClientSession() as http:
            session = await Session.open(http, server)
            stays = await Session.open(http, server)
            await client.publish(cent.PublishRequest(channel="chat:a", data=1))
            await client.subscribe(
                cent.SubscribeRequest(
                    user="",
                    channel="chat:a",
                    client=session.client,
                    info={"seen": True},
                    data={"hello": 1},
                    recover_since=cent.StreamPosition(offset=0, epoch=""),
                    override=cent.ChannelOptionsOverride(presence=cent.BoolValue(value=True)),
                )
            )
            subscribed = await session.push()
            assert subscribed["subscribe"]["data"] == {"hello": 1} and subscribed["channel"] == "chat:a"
            assert (await session.push())["pub"] == {"data": 1, "offset": 1}
            presence = await client.presence(cent.PresenceRequest(channel="chat:a"))
            assert presence.presence[session.client].chan_info == {"seen": True}
            stats = await client.presence_stats(cent.PresenceStatsRequest(channel="chat:a"))
            assert stats.num_clients == 1
            channels = await client.channels(cent.ChannelsRequest(pattern="chat:*"))
            assert channels.channels["chat:a"].num_clients == 1
            await client.refresh(cent.RefreshRequest(user="", client=session.client, expire_at=4_000_000_000))
            await client.unsubscribe(cent.UnsubscribeRequest(user="", channel="chat:a", client=session.client))
            assert (await session.push())["unsubscribe"]["code"] == 2000
            disconnect = cent.Disconnect(code=4242, reason="go")
            await client.disconnect(cent.DisconnectRequest(user="", whitelist=[stays.client], disconnect=disconnect))
            assert await session.next() == 4242
            await client.subscribe(cent.SubscribeRequest(user="", channel="chat:b"))
            assert (await stays.push())["channel"] == "chat:b"
            await client.disconnect(cent.DisconnectRequest(user="", client=stays.client))
            assert await stays.next() == 3503
        await client.close()

    asyncio.run(all_of_them())


@pytest.mark.parametrize("parallel", [False, True])
def test_batch(server, parallel):
    client = cent.Client(server.api + "/api", server.key)
    requests = [
        cent.PublishRequest(channel="chat:a", data=1),
        cent.BroadcastRequest(channels=["chat:b"], data=2),
        cent.PresenceStatsRequest(channel="chat:c"),
        cent.InfoRequest(),
    ]
    replies = client.batch(cent.BatchRequest(requests=requests, parallel=parallel)).replies
    assert replies[0].offset == 1 and replies[1].responses[0].result.offset == 1
    assert replies[2].num_clients == 0 and replies[3].nodes[0].name == "hubbub"


def test_errors_are_those_that_the_client_knows(server):
    client = cent.Client(server.api + "/api", server.key)
    with pytest.raises(cent.CentApiResponseError) as error:
        client.publish(cent.PublishRequest(channel="nowhere:a", data=1))
    assert error.value.code == 102
    with pytest.raises(cent.CentUnauthorizedError):
        cent.Client(server.api + "/api", "another-key-of-nobody").info(cent.InfoRequest())
    with pytest.raises(cent.CentTransportError) as error:
        client.publish(cent.PublishRequest(channel="chat:a", data="x" * (1 << 20)))
    assert error.value.status_code == 413
