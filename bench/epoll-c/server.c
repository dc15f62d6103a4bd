/*
 * The bench's baseline in C: WebSocket echo and rooms as one epoll reactor on one thread.
 *
 *   epoll_wait ──▶ listener          ──▶ accept ──▶ a connection of its own, found by its descriptor
 *   (level-        socket, reads     ──▶ recv   ──▶ frames ──┬─ echo ──▶ send
 *    triggered)                                              └─ room ──▶ the room's log
 *                  socket, waits     ──▶ send what it had not taken
 *   end of turn:   for each room with news, for each member: its own bytes and log[cursor..], one send
 *
 *   connection:    HANDSHAKE ──▶ ECHO or ROOM ──▶ ENDING ──▶ (LINGERING) ──▶ gone
 *
 * A socket is watched either for reading or, while it has not accepted all bytes, for writing:
 * a peer that does not read answers is not read from, which bounds the bytes queued for it. A
 * message to a room is encoded once, into the log of the room; members are cursors into that log. A
 * member that lags more than LAG_BYTES_MAX is closed, which bounds the log to that and what one turn
 * brings (EVENTS_MAX receives).
 *
 * Heartbeats: every connection is pinged at a fixed interval, and closed if no pong has arrived when
 * the next ping is due. A connection that is still in its handshake or closing is closed then as well.
 */
#define _GNU_SOURCE
#include "protocol.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
	EVENTS_MAX = 1024,
	ACCEPTS_MAX = 256, /* in one turn, so that open connections need not wait long */
	BACKLOG = 4096,
	RECEIVE_BYTES = 256 * 1024,
	LAG_BYTES_MAX = 4 * 1024 * 1024,
	KEPT_BYTES_MAX = 256 * 1024, /* most memory that an emptied log keeps */
	ACCEPT_PAUSE_MS = 50,        /* the pause in accepting after descriptors ran out */
	BUCKETS = 4096,
};

/* ---- buffers, which hold no memory while they are empty ---- */

struct buffer {
	size_t start; /* index of the first unsent byte */
	size_t count; /* index behind the last byte */
	size_t capacity;
	unsigned char bytes[];
};

/* The server cannot continue without memory, so it ends. */
static void *enlarged(void *old, size_t bytes)
{
	void *larger = realloc(old, bytes);
	if (!larger) {
		fputs("error: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	return larger;
}

static void append(struct buffer **buffer, const void *bytes, size_t count)
{
	struct buffer *old = *buffer;
	size_t filled = old ? old->count : 0;
	if (count == 0)
		return;
	if (!old || old->capacity - filled < count) {
		size_t capacity = filled + count > 2 * filled ? filled + count : 2 * filled;
		struct buffer *larger = enlarged(old, sizeof *larger + capacity);
		if (!old)
			larger->start = larger->count = 0;
		larger->capacity = capacity;
		*buffer = larger;
	}
	memcpy((*buffer)->bytes + filled, bytes, count);
	(*buffer)->count = filled + count;
}

static void append_frame(struct buffer **buffer, enum opcode opcode, const void *payload, size_t count)
{
	unsigned char header[FRAME_HEADER_BYTES_MAX];
	append(buffer, header, write_header(header, opcode, count));
	append(buffer, payload, count);
}

static void clear(struct buffer **buffer)
{
	free(*buffer);
	*buffer = NULL;
}

/* ---- connections and rooms ---- */

enum stage { HANDSHAKE, ECHO, ROOM, ENDING, LINGERING };

struct connection {
	int fd;
	enum stage stage;
	bool waits;       /* watched for writing, because the socket did not accept all bytes */
	bool lingers;     /* ENDING: the peer may still be sending: closing now would reset, and hide the reason */
	bool is_owed;     /* listed for a send of its own bytes at the end of the turn */
	bool awaits_pong;
	uint8_t fragments_of; /* opcode of the fragmented message, or 0 */
	uint32_t seat;    /* index among the members of its room */
	struct buffer *held;    /* the beginning of an incomplete request or frame */
	struct buffer *message; /* the fragments that have arrived */
	struct buffer *own;     /* bytes for it alone, sent before those that it lacks of its room */
	struct room *room;
	uint64_t cursor;  /* the position of its room up to which it has received all; between two frames */
	int64_t beat_ms;  /* when its heartbeat is due */
	struct connection *earlier, *later; /* its neighbours in the order of heartbeats */
};

struct room {
	struct room *next_in_bucket, *next_dirty;
	struct connection **members;
	size_t count, capacity;
	struct buffer *log; /* frames, end to end */
	uint64_t tail;      /* the position of the log's first byte; positions never decrease */
	bool is_dirty;
	size_t name_bytes;
	char name[];
};

static int epoll_fd, listener;
static struct connection **connections; /* by descriptor; the kernel assigns the lowest free number */
static size_t connections_capacity;
static struct room *buckets[BUCKETS];
static struct room *dirty; /* rooms with messages to deliver at the end of the turn */
static int *owed;
static size_t owed_count, owed_capacity;
static struct connection *first_beat, *last_beat;
static int64_t heartbeat_ms; /* 0 means no heartbeats */
static int64_t now_ms;       /* read once a turn */
static int64_t paused_until_ms; /* 0 while connections are accepted */
static unsigned char received[RECEIVE_BYTES];
static struct buffer *reply; /* to the current connection */
static volatile sig_atomic_t is_stopped;

static struct connection *connection_of(int fd)
{
	return (size_t)fd < connections_capacity ? connections[fd] : NULL;
}

static void watch(int operation, int fd, uint32_t what)
{
	struct epoll_event event = {.events = what, .data.fd = fd};
	/* The kernel has no memory: the socket stays as it is, and its heartbeat closes it. */
	(void)epoll_ctl(epoll_fd, operation, fd, &event);
}

static struct room **bucket_of(const char *name, size_t bytes)
{
	uint32_t hash = 2166136261; /* FNV-1a */
	for (size_t at = 0; at < bytes; at++)
		hash = (hash ^ (unsigned char)name[at]) * 16777619;
	return &buckets[hash % BUCKETS];
}

static struct room *room_named(const char *name, size_t bytes)
{
	struct room **bucket = bucket_of(name, bytes);
	for (struct room *room = *bucket; room; room = room->next_in_bucket)
		if (room->name_bytes == bytes && memcmp(room->name, name, bytes) == 0)
			return room;
	struct room *room = enlarged(NULL, sizeof *room + bytes);
	*room = (struct room){.next_in_bucket = *bucket, .name_bytes = bytes};
	memcpy(room->name, name, bytes);
	return *bucket = room;
}

static uint64_t head_of(const struct room *room)
{
	return room->tail + (room->log ? room->log->count : 0);
}

static void mark(struct room *room)
{
	if (room->is_dirty)
		return;
	room->is_dirty = true;
	room->next_dirty = dirty;
	dirty = room;
}

static void join(struct connection *c, struct room *room)
{
	if (room->count == room->capacity) {
		room->capacity = room->capacity ? 2 * room->capacity : 4;
		room->members = enlarged(room->members, room->capacity * sizeof *room->members);
	}
	c->room = room;
	c->seat = (uint32_t)room->count;
	c->cursor = head_of(room);
	c->stage = ROOM;
	room->members[room->count++] = c;
}

/* The last member takes the seat. An empty room is freed at the end of the turn, because it may be in use. */
static void leave(struct connection *c)
{
	struct room *room = c->room;
	struct connection *last = room->members[--room->count];
	room->members[c->seat] = last;
	last->seat = c->seat;
	c->room = NULL;
	if (room->count == 0)
		mark(room);
}

static void free_room(struct room *room)
{
	struct room **place = bucket_of(room->name, room->name_bytes);
	while (*place != room)
		place = &(*place)->next_in_bucket;
	*place = room->next_in_bucket;
	free(room->members);
	free(room->log);
	free(room);
}

/* Drops the bytes before `oldest`, the lowest cursor. Bytes are moved only when at least as many are
 * dropped, so that the work is linear in the bytes published. */
static void trim(struct room *room, uint64_t oldest)
{
	if (!room->log)
		return;
	size_t gone = (size_t)(oldest - room->tail), left = room->log->count - gone;
	if (left > gone)
		return;
	memmove(room->log->bytes, room->log->bytes + gone, left);
	room->log->count = left;
	room->tail = oldest;
	if (left == 0 && room->log->capacity > KEPT_BYTES_MAX)
		clear(&room->log);
}

/* ---- the order of heartbeats: all have the same interval, so the order of insertion ---- */

static void beat_later(struct connection *c)
{
	c->beat_ms = now_ms + heartbeat_ms;
	c->earlier = last_beat;
	c->later = NULL;
	*(last_beat ? &last_beat->later : &first_beat) = c;
	last_beat = c;
}

static void beat_never(struct connection *c)
{
	*(c->earlier ? &c->earlier->later : &first_beat) = c->later;
	*(c->later ? &c->later->earlier : &last_beat) = c->earlier;
}

/* Closing the descriptor also removes it from the epoll set. */
static void close_connection(struct connection *c)
{
	if (c->room)
		leave(c);
	beat_never(c);
	connections[c->fd] = NULL;
	close(c->fd);
	free(c->held);
	free(c->message);
	free(c->own);
	free(c);
}

/* ---- sending ---- */

/* Sends its own bytes and then `run` in one call; stores how much of `run` has left. Returns false if
 * the peer has gone. */
static bool send_some(struct connection *c, unsigned char *run, size_t count, size_t *sent)
{
	size_t own = c->own ? c->own->count - c->own->start : 0;
	struct iovec parts[2] = {{own ? c->own->bytes + c->own->start : NULL, own}, {run, count}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	*sent = 0;
	if (own + count == 0)
		return true;
	ssize_t left = own && count ? sendmsg(c->fd, &message, MSG_NOSIGNAL)
		     : own          ? send(c->fd, parts[0].iov_base, own, MSG_NOSIGNAL)
				    : send(c->fd, run, count, MSG_NOSIGNAL);
	if (left < 0)
		return errno == EAGAIN || errno == EINTR;
	if ((size_t)left < own) {
		c->own->start += (size_t)left;
		return true;
	}
	clear(&c->own);
	*sent = (size_t)left - own;
	return true;
}

/* After a send: waits until the rest is accepted, or ends a connection that was to end, or reads on. */
static void settle(struct connection *c, bool all)
{
	if (c->waits == all) {
		c->waits = !all;
		watch(EPOLL_CTL_MOD, c->fd, all ? EPOLLIN : EPOLLOUT);
	}
	if (c->stage != ENDING || !all)
		return;
	if (!c->lingers) {
		close_connection(c);
		return;
	}
	c->stage = LINGERING;
	shutdown(c->fd, SHUT_WR);
}

static void send_own(struct connection *c)
{
	size_t sent;
	if (send_some(c, NULL, 0, &sent))
		settle(c, !c->own);
	else
		close_connection(c);
}

/* Sends the bytes that a member lacks of its room. The rest of a partly sent frame becomes its own, so that
 * cursors stand between frames, and bytes for this socket alone can follow at any time. Returns
 * false if the connection was closed. */
static bool deliver(struct connection *c)
{
	struct room *room = c->room;
	size_t count = (size_t)(head_of(room) - c->cursor), sent, taken = 0;
	unsigned char *run = count ? room->log->bytes + (c->cursor - room->tail) : NULL;
	if (!send_some(c, run, count, &sent)) {
		close_connection(c);
		return false;
	}
	if (sent == count)
		taken = count;
	while (taken < sent)
		taken += own_frame_bytes(run + taken);
	if (taken > sent)
		append(&c->own, run + sent, taken - sent);
	c->cursor += taken;
	settle(c, taken == count && !c->own);
	return true;
}

/* Goes from the last member to the first: when one is closed the last takes its seat, and that one was
 * already served. */
static void fan_out(struct room *room)
{
	uint64_t head = head_of(room), oldest = head;
	for (size_t at = room->count; at-- > 0;) {
		struct connection *c = room->members[at];
		if (!c->waits && !deliver(c))
			continue;
		if (head - c->cursor > LAG_BYTES_MAX)
			close_connection(c);
		else if (c->cursor < oldest)
			oldest = c->cursor;
	}
	trim(room, oldest);
}

/* Sends the reply. A member of a room gets it at the end of the turn, together with the room's messages. */
static void send_reply(struct connection *c)
{
	size_t count = reply ? reply->count : 0, sent;
	if (count == 0 && c->stage != ENDING)
		return;
	if (c->waits || c->stage == ROOM) {
		append(&c->own, reply->bytes, count);
		if (!c->waits && !c->is_owed) {
			if (owed_count == owed_capacity) {
				owed_capacity = owed_capacity ? 2 * owed_capacity : 64;
				owed = enlarged(owed, owed_capacity * sizeof *owed);
			}
			owed[owed_count++] = c->fd;
			c->is_owed = true;
		}
	} else if (send_some(c, count ? reply->bytes : NULL, count, &sent)) {
		if (sent < count)
			append(&c->own, reply->bytes + sent, count - sent);
		settle(c, !c->own);
	} else {
		close_connection(c);
	}
	if (reply)
		reply->count = 0;
}

static void end_turn(void)
{
	while (dirty || owed_count > 0) {
		while (dirty) {
			struct room *room = dirty;
			dirty = room->next_dirty;
			room->is_dirty = false;
			if (room->count == 0)
				free_room(room);
			else
				fan_out(room);
		}
		while (owed_count > 0) {
			/* It may have gone, and another connection may have its number. */
			struct connection *c = connection_of(owed[--owed_count]);
			if (!c || !c->is_owed)
				continue;
			c->is_owed = false;
			if (!c->waits && c->own)
				send_own(c);
		}
	}
}

/* ---- receiving ---- */

/* Sends the last bytes and ends the connection. Messages published before are still delivered. */
static void end(struct connection *c, const unsigned char *payload, size_t count, bool lingers)
{
	if (c->stage == ROOM) {
		struct room *room = c->room;
		if (room->log)
			append(&c->own, room->log->bytes + (c->cursor - room->tail), (size_t)(head_of(room) - c->cursor));
		leave(c);
	}
	c->stage = ENDING;
	c->lingers = lingers;
	append_frame(&reply, CLOSE, payload, count);
}

static void fail(struct connection *c, int code)
{
	const unsigned char payload[2] = {(unsigned char)(code >> 8), (unsigned char)code};
	end(c, payload, sizeof payload, true);
}

static void on_message(struct connection *c, enum opcode opcode, const unsigned char *payload, size_t count)
{
	if (opcode == TEXT && !is_utf8(payload, count)) {
		fail(c, INVALID_TEXT);
	} else if (c->stage == ECHO) {
		append_frame(&reply, opcode, payload, count);
	} else {
		append_frame(&c->room->log, opcode, payload, count);
		mark(c->room);
	}
}

static void on_control(struct connection *c, const struct frame *frame)
{
	if (frame->opcode == PING)
		append_frame(&reply, PONG, frame->payload, frame->payload_bytes);
	else if (frame->opcode == PONG)
		c->awaits_pong = false;
	else if (!is_close_payload(frame->payload, frame->payload_bytes))
		fail(c, PROTOCOL_ERROR);
	else /* A peer sends nothing after its close frame (RFC 6455 section 5.5.1). */
		end(c, frame->payload, frame->payload_bytes < 2 ? 0 : 2, false);
}

static void on_fragment(struct connection *c, const struct frame *frame)
{
	size_t before = c->message ? c->message->count : 0;
	if (before + frame->payload_bytes > MESSAGE_BYTES_MAX) {
		fail(c, MESSAGE_TOO_LONG);
		return;
	}
	if (frame->opcode != CONTINUATION)
		c->fragments_of = (uint8_t)frame->opcode;
	append(&c->message, frame->payload, frame->payload_bytes);
	if (!frame->is_last)
		return;
	struct buffer *message = c->message;
	enum opcode opcode = c->fragments_of;
	c->message = NULL;
	c->fragments_of = 0;
	on_message(c, opcode, message ? message->bytes : frame->payload, message ? message->count : 0);
	free(message);
}

static void on_frame(struct connection *c, const struct frame *frame)
{
	bool continues = frame->opcode == CONTINUATION, in_parts = c->fragments_of != 0;
	if (frame->opcode >= CLOSE)
		on_control(c, frame);
	else if (continues != in_parts)
		fail(c, PROTOCOL_ERROR);
	else if (frame->is_last && !in_parts)
		on_message(c, frame->opcode, frame->payload, frame->payload_bytes);
	else
		on_fragment(c, frame);
}

static size_t on_request(struct connection *c, const unsigned char *bytes, size_t count)
{
	struct request request;
	if (!read_request(bytes, count, &request))
		return 0;
	append(&reply, request.answer, strlen(request.answer));
	if (request.route == ROUTE_REFUSED) {
		c->stage = ENDING;
		c->lingers = true;
	} else if (request.route == ROUTE_ECHO) {
		c->stage = ECHO;
	} else {
		join(c, room_named(request.room, request.room_bytes));
	}
	return request.bytes;
}

/* Handles all complete requests and frames; returns their length in bytes. */
static size_t obey(struct connection *c, unsigned char *bytes, size_t count)
{
	size_t used = c->stage == HANDSHAKE ? on_request(c, bytes, count) : 0;
	while (c->stage == ECHO || c->stage == ROOM) {
		struct frame frame;
		int read = read_frame(bytes + used, count - used, &frame);
		if (read == FRAME_INCOMPLETE)
			break;
		if (read != FRAME_WHOLE) {
			fail(c, read);
			break;
		}
		used += frame.bytes;
		on_frame(c, &frame);
	}
	return used;
}

/* Performs one receive. If more bytes remain, the socket is reported again. */
static void on_readable(struct connection *c)
{
	ssize_t got = recv(c->fd, received, sizeof received, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		close_connection(c);
		return;
	}
	if (c->stage >= ENDING)
		return; /* the bytes are dropped */
	unsigned char *bytes = received;
	size_t count = (size_t)got;
	if (c->held) {
		append(&c->held, received, count);
		bytes = c->held->bytes;
		count = c->held->count;
	}
	size_t used = obey(c, bytes, count), left = count - used;
	if (left == 0 || c->stage >= ENDING) {
		clear(&c->held);
	} else if (c->held) {
		memmove(c->held->bytes, bytes + used, left);
		c->held->count = left;
	} else {
		append(&c->held, bytes + used, left);
	}
	send_reply(c);
}

static void on_writable(struct connection *c)
{
	struct room *room = c->room;
	if (!room)
		send_own(c);
	else if (deliver(c) && !c->waits)
		mark(room); /* it may have been the last member that needed the log */
}

/* ---- accepting, heartbeats, the loop ---- */

static void admit(int fd)
{
	if ((size_t)fd >= connections_capacity) {
		size_t capacity = 2 * (size_t)fd + 64;
		connections = enlarged(connections, capacity * sizeof *connections);
		memset(connections + connections_capacity, 0, (capacity - connections_capacity) * sizeof *connections);
		connections_capacity = capacity;
	}
	struct connection *c = enlarged(NULL, sizeof *c);
	*c = (struct connection){.fd = fd};
	connections[fd] = c;
	beat_later(c);
	watch(EPOLL_CTL_ADD, fd, EPOLLIN);
}

static void on_acceptable(void)
{
	for (int accepted = 0; accepted < ACCEPTS_MAX; accepted++) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			admit(fd);
		} else if (errno == EAGAIN) {
			return;
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			/* The listener is level-triggered and would be reported in each turn, in vain. */
			paused_until_ms = now_ms + ACCEPT_PAUSE_MS;
			watch(EPOLL_CTL_DEL, listener, 0);
			return;
		} /* else the peer gave up before it was accepted (accept(2)) */
	}
}

static void beat(void)
{
	while (heartbeat_ms && first_beat && first_beat->beat_ms <= now_ms) {
		struct connection *c = first_beat;
		if (c->awaits_pong || (c->stage != ECHO && c->stage != ROOM)) {
			close_connection(c);
			continue;
		}
		c->awaits_pong = true;
		beat_never(c);
		beat_later(c);
		append_frame(&reply, PING, NULL, 0);
		send_reply(c);
	}
}

static void read_clock(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	now_ms = (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* The time until the next deadline. */
static int patience_ms(void)
{
	int64_t due = heartbeat_ms && first_beat ? first_beat->beat_ms : INT64_MAX;
	if (paused_until_ms && paused_until_ms < due)
		due = paused_until_ms;
	if (due == INT64_MAX)
		return -1;
	int64_t left = due > now_ms ? due - now_ms : 0;
	return left < INT32_MAX ? (int)left : INT32_MAX;
}

static void run(void)
{
	struct epoll_event events[EVENTS_MAX];
	while (!is_stopped) {
		int count = epoll_wait(epoll_fd, events, EVENTS_MAX, patience_ms());
		read_clock();
		/* An event may be stale, when an earlier one of the turn closed its socket and perhaps another
		 * has its number: then the call finds that it would block. */
		for (int at = 0; at < count; at++) {
			struct connection *c = connection_of(events[at].data.fd);
			if (events[at].data.fd == listener)
				on_acceptable();
			else if (c && c->waits)
				on_writable(c);
			else if (c)
				on_readable(c);
		}
		beat();
		end_turn();
		if (paused_until_ms && paused_until_ms <= now_ms) {
			paused_until_ms = 0;
			watch(EPOLL_CTL_ADD, listener, EPOLLIN);
		}
	}
}

static void free_all(void)
{
	for (size_t fd = 0; fd < connections_capacity; fd++)
		if (connections[fd])
			close_connection(connections[fd]);
	owed_count = 0;
	end_turn();
	free(connections);
	free(owed);
	free(reply);
}

/* ---- starting ---- */

static void give_up(const char *what)
{
	fprintf(stderr, "error: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static struct sockaddr_in address_of(const char *text)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	char host[INET_ADDRSTRLEN] = "";
	unsigned port;
	if (sscanf(text, "%15[0-9.]:%5u", host, &port) != 2 || port > 65535 ||
	    inet_pton(AF_INET, host, &address.sin_addr) != 1) {
		fprintf(stderr, "error: `%s` is not of the form 127.0.0.1:9002\n", text);
		exit(EXIT_FAILURE);
	}
	address.sin_port = htons((uint16_t)port);
	return address;
}

/* Returns the address with the port that was found for port 0. */
static struct sockaddr_in listen_on(struct sockaddr_in address)
{
	const int on = 1;
	socklen_t bytes = sizeof address;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener < 0)
		give_up("cannot open a socket");
	/* A port whose last connections are in TIME_WAIT may be used; accepted sockets inherit TCP_NODELAY. */
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (bind(listener, (struct sockaddr *)&address, bytes) < 0 || listen(listener, BACKLOG) < 0)
		give_up("cannot listen; choose another with --listen");
	getsockname(listener, (struct sockaddr *)&address, &bytes);
	return address;
}

static void stop(int signal)
{
	(void)signal;
	is_stopped = 1;
}

static const char HELP[] =
	"The bench's baseline in C: /echo returns every message, /rooms/NAME hands it to all who are there.\n\n"
	"  --listen ADDRESS     where to listen; port 0 takes a free one [127.0.0.1:9002]\n"
	"  --heartbeat SECONDS  from one ping to the next; no pong until then closes; 0: never [60]\n"
	"  --version, --help\n";

int main(int count, char **arguments)
{
	const char *where = "127.0.0.1:9002";
	heartbeat_ms = 60 * 1000;
	for (int at = 1; at < count; at++) {
		bool has_value = at + 1 < count;
		if (strcmp(arguments[at], "--version") == 0) {
			puts("bench-epoll-c, compiler " __VERSION__);
			return EXIT_SUCCESS;
		} else if (strcmp(arguments[at], "--help") == 0) {
			fputs(HELP, stdout);
			return EXIT_SUCCESS;
		} else if (strcmp(arguments[at], "--listen") == 0 && has_value) {
			where = arguments[++at];
		} else if (strcmp(arguments[at], "--heartbeat") == 0 && has_value) {
			heartbeat_ms = (int64_t)(strtod(arguments[++at], NULL) * 1000);
		} else {
			fprintf(stderr, "error: `%s` is unknown or lacks its value\n\n%s", arguments[at], HELP);
			return 2;
		}
	}
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	struct sigaction stopping = {.sa_handler = stop};
	sigaction(SIGTERM, &stopping, NULL);
	sigaction(SIGINT, &stopping, NULL);
	struct sockaddr_in address = listen_on(address_of(where));
	if ((epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
		give_up("cannot open an epoll");
	watch(EPOLL_CTL_ADD, listener, EPOLLIN);
	read_clock();
	char host[INET_ADDRSTRLEN];
	inet_ntop(AF_INET, &address.sin_addr, host, sizeof host);
	printf("bench-epoll-c listens on http://%s:%u (heartbeat: %g s)\n", host, ntohs(address.sin_port),
	       (double)heartbeat_ms / 1000);
	fflush(stdout);
	run();
	free_all();
	return EXIT_SUCCESS;
}
