/* The bytes of RFC 6455: requests, frames and text. There are no sockets here. */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>

enum {
	REQUEST_BYTES_MAX = 8 * 1024,
	MESSAGE_BYTES_MAX = 1024 * 1024,
	CONTROL_BYTES_MAX = 125,
	FRAME_HEADER_BYTES_MAX = 10, /* the server's frames have no masking key */
};

enum opcode {
	CONTINUATION = 0,
	TEXT = 1,
	BINARY = 2,
	CLOSE = 8,
	PING = 9,
	PONG = 10,
};

/* Close codes (RFC 6455 section 7.4.1). */
enum close_code {
	PROTOCOL_ERROR = 1002,
	INVALID_TEXT = 1007,
	MESSAGE_TOO_LONG = 1009,
};

enum route { ROUTE_REFUSED, ROUTE_ECHO, ROUTE_ROOM };

/* A request with a complete head, and the data of its answer. */
struct request {
	size_t bytes; /* length of the head */
	enum route route;
	const char *room; /* the name, within the head; not terminated */
	size_t room_bytes;
	char answer[256];
};

/* Parses a request. Returns false while its head is incomplete. */
bool read_request(const unsigned char *bytes, size_t count, struct request *request);

struct frame {
	size_t bytes; /* header and payload together */
	bool is_last;
	enum opcode opcode;
	unsigned char *payload; /* already unmasked */
	size_t payload_bytes;
};

enum { FRAME_INCOMPLETE = 0, FRAME_WHOLE = 1 };

/* Parses a client's frame and unmasks it in place. Returns FRAME_INCOMPLETE, FRAME_WHOLE, or
 * the close code for the rule that the frame breaks. */
int read_frame(unsigned char *bytes, size_t count, struct frame *frame);

/* Writes the header of a frame that is a whole message or a control frame; returns its length. */
size_t write_header(unsigned char *header, enum opcode opcode, size_t payload_bytes);

/* The length of the server's own frame at the beginning of the bytes. */
size_t own_frame_bytes(const unsigned char *frames);

bool is_utf8(const unsigned char *text, size_t count);

/* Whether the payload of a peer's close frame is valid: empty, or a code that is
 * permitted on the wire and a reason in UTF-8 (RFC 6455 section 7.4). */
bool is_close_payload(const unsigned char *payload, size_t count);

#endif
