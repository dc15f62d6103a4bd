/*
 * The peer `libwebsockets`: an echo and rooms, chosen by path from a table of endpoints.
 * Started by ../run as `server PORT THREADS`.
 *
 * A room is one ring of messages and a tail per member, as the library means lws_ring to be used.
 * Each message waits for LWS_CALLBACK_SERVER_WRITEABLE, one lws_write() per callback, as its manual
 * asks. THREADS is ignored: Debian builds the library with LWS_MAX_SMP 1.
 */
#include <libwebsockets.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define RECEIVE_BYTES (64 * 1024)     /* most of one read; all connections share it */
#define FRAGMENT_BYTES 4096           /* most of one receive callback; each connection has it */
#define MESSAGE_BYTES_MAX (1 << 20)
#define ECHO_MESSAGES 64              /* replies that may wait before reading pauses */
#define ECHO_MESSAGES_PAUSE (ECHO_MESSAGES / 2)
#define ROOM_MESSAGES 1024            /* a member that lags further is closed */
#define PATH_BYTES_MAX 256

struct message {
	unsigned char *bytes; /* LWS_PRE bytes of room for the header come first */
	size_t len;
	enum lws_write_protocol kind;
};

struct session;

struct endpoint {
	const char *path;
	int is_prefix;
	int (*opened)(struct session *, const char *path);
	int (*received)(struct session *, struct message *);
	int (*writeable)(struct session *);
	void (*closed)(struct session *);
};

struct room {
	struct room *next;
	struct lws_ring *ring;
	struct session *members;
	char name[PATH_BYTES_MAX];
};

struct session {
	struct lws *wsi;
	const struct endpoint *endpoint;
	struct message partial; /* arrives in several fragments or reads */
	struct lws_ring *replies; /* for echo: made with the first message */
	int paused;
	struct room *room; /* NULL after it lagged too far and was removed */
	struct session *next; /* in the room */
	uint32_t tail;
};

static struct room *rooms;
static volatile sig_atomic_t interrupted;

static void message_free(void *element)
{
	struct message *message = element;

	free(message->bytes);
	message->bytes = NULL;
	message->len = 0;
}

static int message_send(struct session *session, const struct message *message)
{
	int sent = lws_write(session->wsi, message->bytes + LWS_PRE, message->len, message->kind);

	return sent < (int)message->len ? -1 : 0;
}

/* ---- echo ---- */

static int echo_received(struct session *session, struct message *message)
{
	if (!session->replies)
		session->replies = lws_ring_create(sizeof(*message), ECHO_MESSAGES, message_free);
	if (!session->replies || lws_ring_insert(session->replies, message, 1) != 1) {
		message_free(message);
		return -1;
	}
	if (lws_ring_get_count_free_elements(session->replies) < ECHO_MESSAGES_PAUSE && !session->paused) {
		session->paused = 1;
		lws_rx_flow_control(session->wsi, 0);
	}
	lws_callback_on_writable(session->wsi);
	return 0;
}

static int echo_writeable(struct session *session)
{
	const struct message *message =
		session->replies ? lws_ring_get_element(session->replies, NULL) : NULL;

	if (!message)
		return 0;
	if (message_send(session, message))
		return -1;
	lws_ring_consume(session->replies, NULL, NULL, 1);
	if (session->paused && lws_ring_get_count_free_elements(session->replies) > ECHO_MESSAGES_PAUSE) {
		session->paused = 0;
		lws_rx_flow_control(session->wsi, 1);
	}
	if (lws_ring_get_count_waiting_elements(session->replies, NULL))
		lws_callback_on_writable(session->wsi);
	return 0;
}

static void echo_closed(struct session *session)
{
	if (session->replies)
		lws_ring_destroy(session->replies);
}

/* ---- rooms ---- */

static struct room *room_named(const char *name)
{
	struct room *room;

	for (room = rooms; room; room = room->next)
		if (!strcmp(room->name, name))
			return room;
	room = calloc(1, sizeof(*room));
	if (!room)
		return NULL;
	lws_strncpy(room->name, name, sizeof(room->name));
	/* One place more, because a ring always keeps one empty. */
	room->ring = lws_ring_create(sizeof(struct message), ROOM_MESSAGES + 1, message_free);
	if (!room->ring) {
		free(room);
		return NULL;
	}
	room->next = rooms;
	rooms = room;
	return room;
}

static int room_opened(struct session *session, const char *path)
{
	struct room *room = room_named(path);

	if (!room)
		return -1;
	session->room = room;
	session->tail = lws_ring_get_oldest_tail(room->ring);
	/* A member starts at the newest end, without earlier messages. */
	lws_ring_consume(room->ring, &session->tail, NULL, ROOM_MESSAGES);
	session->next = room->members;
	room->members = session;
	return 0;
}

static void room_leave(struct session *session)
{
	struct session **at = &session->room->members;

	while (*at && *at != session)
		at = &(*at)->next;
	if (*at)
		*at = session->next;
}

static void room_closed(struct session *session)
{
	struct room *room = session->room, **at = &rooms;

	if (!room)
		return;
	room_leave(session);
	if (room->members)
		return;
	while (*at && *at != room)
		at = &(*at)->next;
	if (*at)
		*at = room->next;
	lws_ring_destroy(room->ring);
	free(room);
}

/*
 * Frees the messages that all members have received, once per message published. The library's macro
 * does so once per message delivered, which would walk all members for each member.
 */
static void room_release(struct room *room, int evict)
{
	size_t waiting_max = 0;
	uint32_t oldest = 0;
	struct session **at = &room->members;

	while (*at) {
		struct session *member = *at;
		size_t waiting = lws_ring_get_count_waiting_elements(room->ring, &member->tail);

		if (evict && waiting >= ROOM_MESSAGES) {
			*at = member->next;
			member->room = NULL;
			lws_set_timeout(member->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
			continue;
		}
		if (waiting >= waiting_max) {
			waiting_max = waiting;
			oldest = member->tail;
		}
		at = &member->next;
	}
	if (room->members)
		lws_ring_update_oldest_tail(room->ring, oldest);
}

static int room_received(struct session *session, struct message *message)
{
	struct room *room = session->room;
	struct session *member;

	if (room)
		room_release(room, 0);
	if (room && !lws_ring_get_count_free_elements(room->ring))
		room_release(room, 1);
	if (!session->room || lws_ring_insert(room->ring, message, 1) != 1) {
		message_free(message);
		return -1;
	}
	for (member = room->members; member; member = member->next)
		lws_callback_on_writable(member->wsi);
	return 0;
}

static int room_writeable(struct session *session)
{
	const struct message *message;
	struct lws_ring *ring;

	if (!session->room)
		return -1;
	ring = session->room->ring;
	message = lws_ring_get_element(ring, &session->tail);
	if (!message)
		return 0;
	if (message_send(session, message))
		return -1;
	lws_ring_consume(ring, &session->tail, NULL, 1);
	if (lws_ring_get_element(ring, &session->tail))
		lws_callback_on_writable(session->wsi);
	return 0;
}

/* ---- the table and the library's callback ---- */

static const struct endpoint endpoints[] = {
	{ "/echo", 0, NULL, echo_received, echo_writeable, echo_closed },
	{ "/rooms/", 1, room_opened, room_received, room_writeable, room_closed },
};

static const struct endpoint *endpoint_of(struct lws *wsi, char *path, int path_bytes)
{
	size_t i;

	if (lws_hdr_copy(wsi, path, path_bytes, WSI_TOKEN_GET_URI) <= 0)
		return NULL;
	for (i = 0; i < LWS_ARRAY_SIZE(endpoints); i++) {
		const struct endpoint *endpoint = &endpoints[i];

		if (endpoint->is_prefix ? !strncmp(path, endpoint->path, strlen(endpoint->path))
					: !strcmp(path, endpoint->path))
			return endpoint;
	}
	return NULL;
}

static int session_opened(struct session *session, struct lws *wsi)
{
	char path[PATH_BYTES_MAX];

	session->wsi = wsi;
	session->endpoint = endpoint_of(wsi, path, sizeof(path));
	if (!session->endpoint)
		return -1;
	return session->endpoint->opened ? session->endpoint->opened(session, path) : 0;
}

/* Collects the fragments and reads of one message; a whole one goes to the endpoint. */
static int session_received(struct session *session, const void *in, size_t len)
{
	struct message *partial = &session->partial, message;
	size_t rest = lws_remaining_packet_payload(session->wsi);
	unsigned char *bytes;

	if (lws_is_first_fragment(session->wsi))
		partial->kind = lws_frame_is_binary(session->wsi) ? LWS_WRITE_BINARY : LWS_WRITE_TEXT;
	if (partial->len + len + rest > MESSAGE_BYTES_MAX)
		return -1;
	/* Space for the whole frame is reserved at its first read, so its later reads change nothing. */
	bytes = realloc(partial->bytes, LWS_PRE + partial->len + len + rest);
	if (!bytes)
		return -1;
	partial->bytes = bytes;
	memcpy(bytes + LWS_PRE + partial->len, in, len);
	partial->len += len;
	if (rest || !lws_is_final_fragment(session->wsi))
		return 0;
	message = *partial;
	partial->bytes = NULL;
	partial->len = 0;
	return session->endpoint->received(session, &message);
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct session *session = user;

	switch (reason) {
	case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION: {
		char path[PATH_BYTES_MAX];

		return endpoint_of(wsi, path, sizeof(path)) ? 0 : -1;
	}
	case LWS_CALLBACK_ESTABLISHED:
		return session_opened(session, wsi);
	case LWS_CALLBACK_RECEIVE:
		return session_received(session, in, len);
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return session->endpoint->writeable(session);
	case LWS_CALLBACK_CLOSED:
		message_free(&session->partial);
		if (session->endpoint)
			session->endpoint->closed(session);
		return 0;
	default:
		return 0;
	}
}

/* The first protocol serves clients without a subprotocol; the path selects everything else. */
static const struct lws_protocols protocols[] = {
	{ "bench", callback, sizeof(struct session), FRAGMENT_BYTES, 0, NULL, 0 },
	{ NULL, NULL, 0, 0, 0, NULL, 0 },
};

static void on_signal(int signal)
{
	(void)signal;
	interrupted = 1;
}

int main(int argc, char **argv)
{
	struct lws_context_creation_info info;
	struct lws_context *context;

	if (argc != 3) {
		fprintf(stderr, "usage: %s PORT THREADS\n", argv[0]);
		return 2;
	}
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	lws_set_log_level(LLL_ERR, NULL);
	memset(&info, 0, sizeof(info));
	info.port = atoi(argv[1]);
	info.iface = "127.0.0.1";
	info.protocols = protocols;
	info.pt_serv_buf_size = RECEIVE_BYTES;
	info.options = LWS_SERVER_OPTION_DISABLE_IPV6 | LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME;
	context = lws_create_context(&info);
	if (!context)
		return 1;
	while (!interrupted && lws_service(context, 0) >= 0)
		;
	lws_context_destroy(context);
	return 0;
}
